"""Read decimal strings whose writer used a comma for the point, or another separator for the backslash, where they mean nothing else."""

from __future__ import annotations

import re
from typing import Any, Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

#: Beyond which numbers of a field make no sense; fields that are not here have no such bound.
_LARGEST: Final = {
    "ImagePositionPatient": 10_000.0,
    "ImageOrientationPatient": 1.0,
    "PixelSpacing": 50.0,
    "SliceThickness": 100.0,
    "RescaleSlope": 999.0,
}
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA_NUMBER: Final = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_THOUSANDS: Final = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_SEPARATORS: Final = re.compile(r"\s*[;/|:]\s*|,?\s+")
_QUOTED: Final = 64  # characters


def read_decimals(dataset: Dataset, keyword: str, *, count: int) -> tuple[float, ...] | None:
    """Read a field of `count` numbers that is so written; None where it is absent, written as DICOM says, or means none."""
    element: Any = dataset.get_item(tag_for_keyword(keyword) or 0)  # typed as if files held elements that were parsed already
    if not isinstance(element, RawDataElement) or not element.value:
        return None
    written = _text(element.value)
    parts = written.split("\\")
    if len(parts) == count and all(_NUMBER.fullmatch(part.strip()) for part in parts):
        return None
    return parse_decimals(written, count=count, largest=_LARGEST.get(keyword))


def parse_decimals(written: str, *, count: int, largest: float | None) -> tuple[float, ...] | None:
    """Return the numbers that a text can only mean; None where it means none, or could mean others.

    Args:
        written: what stands in the file.
        count: numbers that the field holds.
        largest: beyond which the field's numbers make no sense: "1,250" is then no thousand two hundred and fifty. None: unlimited.
    """
    parts = [part.strip() for part in written.strip().split("\\")]
    if len(parts) == 1 and count > 1:
        parts = _SEPARATORS.split(parts[0])
    if len(parts) == 1 and count > 1:
        parts = _between_commas(parts[0], count=count)
    if len(parts) != count:
        return None
    is_comma = [bool(_COMMA_NUMBER.fullmatch(part)) for part in parts]
    if not all(comma or _NUMBER.fullmatch(part) for comma, part in zip(is_comma, parts, strict=True)):
        return None
    if any(is_comma) and not any(comma and _is_decimal(part, largest) for comma, part in zip(is_comma, parts, strict=True)):
        return None
    return tuple(float(part.replace(",", ".")) for part in parts)


def written_text(dataset: Dataset, keyword: str) -> str:
    """Return what stands in a file's field, printable and short, for messages."""
    element = dataset.get_item(tag_for_keyword(keyword) or 0)
    written = _text(getattr(element, "value", None))
    return "".join(c for c in written if c.isprintable()).strip()[:_QUOTED]


def _between_commas(written: str, *, count: int) -> list[str]:
    """Numbers between commas; of two whole numbers, as in "5,0", the comma may as well be the decimal point of one."""
    parts = [part.strip() for part in written.split(",")]
    return parts if count > 2 or all("." in part for part in parts) else []


def _is_decimal(part: str, largest: float | None) -> bool:
    """Whether a comma can be nothing but a decimal point: three digits after it could be thousands, unless those make no sense."""
    return not _THOUSANDS.fullmatch(part) or (largest is not None and abs(float(part.replace(",", ""))) > largest)


def _text(content: object) -> str:
    if isinstance(content, bytes):
        return content.decode("latin-1").strip("\0 ")
    return "\\".join(map(str, content)) if isinstance(content, MultiValue) else str(content)

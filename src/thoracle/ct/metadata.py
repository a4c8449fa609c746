"""CT-RATE's metadata: what a table or a row says about one scan's units and geometry.

The published tables are CSV files written by pandas, one row a volume, found by `VolumeName`; lists stand in them as strings.
"""

from __future__ import annotations

import math
import re
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Final, cast

from thoracle.errors import MetadataError
from thoracle.files.json_file import load_json
from thoracle.files.listed_names import normalized_name
from thoracle.files.table import TABLE_SUFFIXES, UTF_8, TextTable
from thoracle.types import Spacing

#: What a row may say of itself: its line in its table.
LINE: Final = "line"

_NAME: Final = "VolumeName"
#: Of a row, all that decides how a scan is read.
METADATA_FIELDS: Final = ("RescaleSlope", "RescaleIntercept", "XYSpacing", "ZSpacing", "ImageOrientationPatient", "PatientPosition")
#: Columns that are read of a table.
METADATA_COLUMNS: Final = (_NAME, "path", *METADATA_FIELDS)
_LARGEST_BYTES = 256 << 20  # ten times the table of all of CT-RATE
_EXTENSIONS = re.compile(r"(\.(nii|nrrd|nhdr|hdr|img|mha|mhd|dcm|dicom|ima|zip|gz))+$", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s,;\\]+")


@dataclass(frozen=True, kw_only=True)
class MetadataRow:
    """Hold the fields of one metadata row; None where it is silent.

    Attributes:
        slope: RescaleSlope, not zero.
        intercept: RescaleIntercept.
        spacing: XYSpacing and ZSpacing: mm along x, y, z, the decimals as written.
        orientation: ImageOrientationPatient: direction of a row, then of a column, as unit vectors in LPS.
        position: PatientPosition ("HFS", "FFS", …).
    """

    slope: float | None = None
    intercept: float | None = None
    spacing: Spacing | None = None
    orientation: tuple[float, float, float, float, float, float] | None = None
    position: str | None = None


class MetadataTable:
    """Read a metadata table once for many lookups, keeping only the fields that are asked for.

    Rows that say the same of one scan are one row.

    Attributes:
        source: what errors call it.
    """

    def __init__(self, rows: Iterable[Mapping[str, object]], *, source: str) -> None:
        self.source = source
        self._rows: dict[str, tuple[object, ...]] = {}
        self._numbers: dict[str, int] = {}
        self._mismatched: dict[str, tuple[int, int]] = {}
        for number, row in enumerate(rows, start=1):
            key, fields = volume_key(str(row.get(_NAME) or "")), tuple(row.get(field) for field in METADATA_FIELDS)
            if self._rows.setdefault(key, fields) != fields and _facts(self._rows[key]) != _facts(fields):
                self._mismatched.setdefault(key, (self._numbers[key], int(str(row.get(LINE) or number))))
            self._numbers.setdefault(key, int(str(row.get(LINE) or number)))

    @classmethod
    def open(cls, path: str | Path, *, encoding: str = UTF_8) -> MetadataTable:
        """Read a CSV or Excel file, or a JSON file with a list of rows.

        Raises:
            MetadataError: not such a table.
        """
        table = Path(path)
        return cls(_json_rows(table) if _is_json(table) else _table_rows(table, encoding), source=str(path))

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: str) -> bool:
        return volume_key(name) in self._rows

    def row(self, name: str) -> MetadataRow:
        """Return the row of a scan by file name, with or without folders and extension.

        Raises:
            MetadataError: no row, several unlike rows, or one that makes no sense.
        """
        key, source = volume_key(name), f"{self.source}, row of {name}"
        if key in self._mismatched:
            first, second = self._mismatched[key]
            detail = f"several rows have this {_NAME} and differ, in lines {first} and {second}"
            raise MetadataError(detail, hint="Leave one of them.", source=source)
        if key not in self._rows:
            near = self._nearest(key)
            nearest = f"; nearest are {', '.join(near)}" if near else ""
            detail = f"none of {len(self)} rows has this {_NAME}{nearest}"
            raise MetadataError(detail, hint="Give the table this scan belongs to, or a JSON file with its row.", source=source)
        return parse_row(dict(zip(METADATA_FIELDS, self._rows[key], strict=True)), source=source)

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self._rows)

    def _nearest(self, key: str) -> list[str]:
        """Names beside a key in alphabetical order: unlike a measure of likeness they cost nothing in a table of 50,000."""
        position = bisect(self._sorted, key)
        return self._sorted[max(0, position - 2) : position + 1]


def reading_fields(row: Mapping[str, str]) -> dict[str, str] | None:
    """Take of a row what decides how a scan is read, and nothing that could tell whose it is; None where it is silent."""
    return {field: row[field] for field in METADATA_FIELDS if row.get(field)} or None


def volume_key(name: str) -> str:
    """Return what is left of a volume's name without folders, extension and blanks around it, in composed Unicode."""
    return _EXTENSIONS.sub("", normalized_name(name).rstrip("/").rpartition("/")[2].strip()).strip()


def lookup_metadata(metadata: str | Path | Mapping[str, object] | MetadataTable | None, path: Path) -> MetadataRow | None:
    """Look up the metadata of the scan at `path`.

    Args:
        metadata: a CSV or Excel file with a row for it, a JSON file with its row (or a list of rows), the row itself, or an opened table.
        path: of the scan; its name is looked up in tables.

    Raises:
        MetadataError: not a table, no row, several rows, or a row that makes no sense.
    """
    if metadata is None:
        return None
    if isinstance(metadata, MetadataTable):
        return metadata.row(path.name)
    if isinstance(metadata, Mapping):
        return parse_row(metadata, source="metadata")
    table = Path(metadata)
    if is_single_row(table):
        return parse_row(cast("dict[str, object]", _json(table)), source=str(table))
    return MetadataTable.open(table).row(path.name)


def is_single_row(path: Path) -> bool:
    """Tell whether a file is JSON with one row, which is for every scan.

    Raises:
        MetadataError: no such file, or JSON that cannot be read.
    """
    return _is_json(path) and isinstance(_json(path), dict)


def parse_row(row: Mapping[str, object], *, source: str) -> MetadataRow:
    """Parse the fields of one row, given as numbers, lists or strings of them; an empty string is silence.

    Raises:
        MetadataError: names the field that makes no sense.
    """
    slope = _numbers(row, "RescaleSlope", 1, source)
    if slope == (0.0,):
        raise _nonsense("RescaleSlope", row["RescaleSlope"], "a number other than zero", source)
    intercept = _numbers(row, "RescaleIntercept", 1, source)
    orientation = _numbers(row, "ImageOrientationPatient", 6, source)
    if orientation is not None and not _orthonormal(orientation):
        raise _nonsense("ImageOrientationPatient", row["ImageOrientationPatient"], "two unit vectors at right angles", source)
    position = row.get("PatientPosition")
    if not isinstance(position, str | None):
        raise _nonsense("PatientPosition", position, "a code such as HFS", source)
    return MetadataRow(
        slope=None if slope is None else slope[0],
        intercept=None if intercept is None else intercept[0],
        spacing=_spacing(row, source),
        orientation=orientation,  # type: ignore[arg-type]  # six of them
        position=(position or "").strip().upper() or None,
    )


def _spacing(row: Mapping[str, object], source: str) -> Spacing | None:
    plane, step = _numbers(row, "XYSpacing", 2, source), _numbers(row, "ZSpacing", 1, source)
    if plane is None and step is None:
        return None
    if plane is None or step is None:
        missing, present = ("XYSpacing", "ZSpacing") if plane is None else ("ZSpacing", "XYSpacing")
        raise MetadataError(f"{missing} is missing, {present} is given", hint="Give both or neither.", source=source)
    for field, numbers in (("XYSpacing", plane), ("ZSpacing", step)):
        if min(numbers) <= 0:
            raise _nonsense(field, row[field], "millimetres above zero", source)
    return plane[0], plane[1], step[0]


def _numbers(row: Mapping[str, object], field: str, count: int, source: str) -> tuple[float, ...] | None:
    """A number or a list of them: `0.5`, `"0.5"`, `[0.5, 0.5]`, `"[0.5, 0.5]"`, `"['0.5', '0.5']"`, `"0.5\\0.5"`."""
    value = row.get(field)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    words = _SEPARATORS.split(value.strip("[]() \t\r\n")) if isinstance(value, str) else value
    items = list(words) if isinstance(words, Iterable) else [words]
    try:
        numbers = tuple(_number(text) for text in items)
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise _nonsense(field, value, "a finite number" if count == 1 else f"{count} finite numbers", source)
    return numbers


def _number(item: object) -> float:
    if isinstance(item, str):
        return float(item.strip("'\" "))
    if isinstance(item, bool) or not isinstance(item, Real):
        raise ValueError(item)
    return float(item)


def _orthonormal(cosines: tuple[float, ...]) -> bool:
    row, column = cosines[:3], cosines[3:]
    skew = abs(sum(a * b for a, b in zip(row, column, strict=True)))
    return skew < 1e-3 and all(abs(math.hypot(*axis) - 1) < 1e-3 for axis in (row, column))


def _nonsense(field: str, value: object, expected: str, source: str) -> MetadataError:
    return MetadataError(f"{field} must be {expected}, is {value!r:.80}", hint="Correct the row.", source=source)


def metadata_facts(row: Mapping[str, object]) -> object:
    """Return what a row says, to compare with another; what makes no sense is compared as it is written."""
    try:
        return parse_row(row, source="")
    except MetadataError:
        return tuple(str(row.get(field) or "").strip() for field in METADATA_FIELDS)


def _facts(fields: tuple[object, ...]) -> object:
    return metadata_facts(dict(zip(METADATA_FIELDS, fields, strict=True)))


def _is_json(path: Path) -> bool:
    if not path.is_file():
        raise MetadataError("no such file", hint="Check the path.", source=path)
    if path.stat().st_size > _LARGEST_BYTES:
        raise MetadataError(f"is larger than {_LARGEST_BYTES:,} bytes", hint="Give CT-RATE's metadata table.", source=path)
    if path.suffix.lower() in TABLE_SUFFIXES:
        return False
    with path.open("rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"["))


def _json(path: Path) -> object:
    try:
        return load_json(path, budget=_LARGEST_BYTES)
    except ValueError as error:
        raise MetadataError(f"is not JSON ({error})", hint="Give one object with the fields of a row.", source=path) from error


def _json_rows(path: Path) -> Iterator[Mapping[str, object]]:
    content = _json(path)
    rows = content if isinstance(content, list) else [content]
    for row in rows:
        if not isinstance(row, dict) or _NAME not in row:
            raise MetadataError(f"expected a list of rows, each with {_NAME}", hint="Give such a list, or one row.", source=path)
        yield row


def _table_rows(path: Path, encoding: str) -> Iterator[Mapping[str, object]]:
    table = TextTable(path=path, encoding=encoding, largest=_LARGEST_BYTES)
    if _NAME not in table.columns:
        detail = f"has no column {_NAME}; its first columns are {', '.join(table.columns[:5])!r:.120}"
        raise MetadataError(detail, hint="Give CT-RATE's metadata table.", source=path)
    # Names of people and machines in other columns may be in any encoding; nothing we read is.
    for row in table.rows(columns=METADATA_COLUMNS):
        yield {LINE: row.line, **{field: row.cells[field] for field in (_NAME, *METADATA_FIELDS) if field in row.cells}}

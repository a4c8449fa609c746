"""One DICOM header, parsed by pydicom up to its pixels, and its fields as checked numbers."""

from __future__ import annotations

import io
import logging
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from thoracle.ct.dicom.decimals import written_text
from thoracle.ct.dicom.files import StudyFile
from thoracle.ct.formats import content_format, has_preamble
from thoracle.errors import BudgetExceeded, CorruptFile, GeometryInvalid, ScanError, TruncatedFile

MAX_INFLATED_BYTES: Final = 256 << 20  # of one deflated file
CT_CLASSES: Final = {
    "1.2.840.10008.5.1.4.1.1.2",  # CT Image
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT Image
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT Image
}
_DIRECTORY: Final = "1.2.840.10008.1.3.10"  # DICOMDIR: an index, not an image
_KEYWORDS: Final = (
    *("SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "SeriesInstanceUID", "SeriesDescription", "ConvolutionKernel"),
    *("AcquisitionNumber", "AcquisitionTime", "ContentTime", "TemporalPositionIdentifier", "DerivationDescription", "KVP", "RescaleType"),
    *("BodyPartExamined", "PatientAge", "ContrastBolusAgent", "ContrastBolusAgentSequence", "GantryDetectorTilt"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
_SERIES: Final = 0x0020000E
_PIXEL_DATA: Final = 0x7FE00010
_PIXEL_TAGS: Final = frozenset((0x7FE00008, 0x7FE00009, _PIXEL_DATA))  # the first two are floats, which CT does not have
_UNDEFINED: Final = 0xFFFFFFFF
#: What pydicom raises on damaged bytes; there is no common class.
_PARSE_ERRORS: Final = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, OverflowError, RecursionError),
    *(EOFError, OSError, MemoryError, struct.error, zlib.error),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Header:
    """Hold a parsed header.

    `pixels` says where the pixel values begin and how many bytes they claim, in the data set as inflated, which has `size` bytes;
    None where they are encapsulated, floats or absent. `deflated_at` is where the deflate stream begins, None without one.
    """

    source: StudyFile
    dataset: Dataset
    sop_class: str
    syntax: UID
    size: int
    deflated_at: int | None
    has_pixels: bool
    pixels: tuple[int, int] | None

    @property
    def modality(self) -> str:
        """Return Modality; where it is absent, what the SOP class says."""
        return text(self.dataset, "Modality").upper() or ("CT" if self.sop_class in CT_CLASSES else "")

    @property
    def kernel(self) -> str:
        """Return ConvolutionKernel, of multi-frame files the first in the shared functional groups; "" where absent."""
        holder = self.dataset
        for keyword in ("SharedFunctionalGroupsSequence", "CTReconstructionSequence"):
            holder = next(iter(items(holder, keyword, source=self.source)), Dataset())
        return text(self.dataset, "ConvolutionKernel") or text(holder, "ConvolutionKernel")

    def nonnegative_int(self, keyword: str, *, default: int | None = None) -> int:
        """Return a whole number that is not negative.

        Raises:
            CorruptFile: absent without default, or not such a number.
        """
        values = numbers(self.dataset, keyword, count=1, source=self.source)
        value = default if values is None else values[0]
        if value is None or value < 0 or value != int(value):
            came = "is absent" if value is None else f"is {value:g}"
            raise CorruptFile(f"{keyword} must be a whole number, {came}", hint="Export the series again.", source=self.source.label)
        return int(value)


@contextmanager
def quiet_parser() -> Iterator[None]:
    """Silence pydicom: what matters of a header is judged by field, and its warnings and log repeat values, which may name a patient."""
    log = logging.getLogger("pydicom")

    def drop(record: logging.LogRecord) -> bool:
        return False

    log.addFilter(drop)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pydicom")
            yield
    finally:
        log.removeFilter(drop)


def read_header(source: StudyFile, *, extra_keywords: tuple[str, ...] = ()) -> Header | None:
    """Read the header of one file, with the fields that reading needs and `extra_keywords`; None for other files and DICOMDIRs.

    A data set without preamble and SOPClassUID, as some anonymisers leave it, is taken where its Modality is CT.

    Raises:
        CorruptFile: DICOM that cannot be parsed, or has no transfer syntax.
        TruncatedFile: it ends before its pixels, or its pixels before their length.
        BudgetExceeded: a deflated data set larger than a scan may be.
    """
    head = source.head()
    if content_format(head) != "dicom":
        return None
    bare = not has_preamble(head)
    try:
        header = _parse(source, io.BytesIO(head), extra_keywords, bare=bare, complete=len(head) == source.size)
        if len(head) < source.size and not (header and header.has_pixels):
            with source.reading() as file:  # sequences longer than the head, or no pixels at all
                header = _parse(source, file, extra_keywords, bare=bare, complete=True)
    except _PARSE_ERRORS as error:
        raise CorruptFile(f"its header cannot be parsed ({type(error).__name__})", hint="Export it again.", source=source.label) from error
    if header is None or header.sop_class == _DIRECTORY or (bare and not header.sop_class and header.modality != "CT"):
        return None
    if header.modality == "CT" or header.sop_class in CT_CLASSES:
        _require_whole(header)
    return header


def peek_series(source: StudyFile) -> str | None:
    """Read SeriesInstanceUID of a file whose header is damaged behind it; None where it cannot be told."""
    try:
        head = source.head()
        file, bare = io.BytesIO(head), not has_preamble(head)
        meta = _meta(file, bare=bare)
        syntax = _syntax(meta, bare=bare or not meta, source=source)
        if syntax == DeflatedExplicitVRLittleEndian:
            return None
        implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
        dataset = read_dataset(file, implicit, little, stop_when=lambda tag, vr, length: tag > _SERIES, specific_tags=[BaseTag(_SERIES)])
        element: object = dataset.get_item(_SERIES)
        is_cut = isinstance(element, RawDataElement) and len(element.value or b"") < element.length
        return None if element is None or is_cut else text(dataset, "SeriesInstanceUID")
    except (*_PARSE_ERRORS, ScanError):
        return None


def text(dataset: Dataset, keyword: str) -> str:
    """Return a field as one line of printable characters; "" where it is absent or unreadable."""
    try:
        value = dataset.get(keyword)
    except _PARSE_ERRORS:
        return ""
    joined = "" if value is None else str(value) if isinstance(value, str) else "\\".join(map(str, _many(value)))
    return "".join(c for c in joined if c.isprintable()).strip()


def items(dataset: Dataset, keyword: str, *, source: StudyFile) -> list[Dataset]:
    """Return the items of a sequence; none where it is absent.

    Raises:
        CorruptFile: it cannot be parsed.
    """
    try:
        return list(dataset.get(keyword) or ())
    except _PARSE_ERRORS as error:
        raise CorruptFile(f"{keyword} cannot be parsed ({type(error).__name__})", hint="Export it again.", source=source.label) from error


def numbers(dataset: Dataset, keyword: str, *, count: int, source: StudyFile) -> tuple[float, ...] | None:
    """Return `count` finite numbers; None where the field is absent or empty.

    Raises:
        GeometryInvalid: not numbers, not so many, or not finite, in a field of geometry.
        CorruptFile: the same in any other field.
    """
    try:
        value = dataset.get(keyword)
        values = () if value is None else tuple(float(v) for v in _many(value))
    except _PARSE_ERRORS:
        values = (math.nan,)
    if not values:
        return None
    if len(values) != count or not all(math.isfinite(v) and abs(v) < 1e6 for v in values):
        kind = GeometryInvalid if keyword.startswith(("Image", "PixelSpacing", "SliceThickness")) else CorruptFile
        written = written_text(dataset, keyword)
        raise kind(f"{keyword} must be {count} finite number(s), is '{written}'", hint="Export the series again.", source=source.label)
    return values


def _many(value: Any) -> list[Any]:
    """pydicom gives one value bare, several in its own list, and none as None or ""."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        return [value] if value not in ("", b"") else []
    return list(value)


def _parse(source: StudyFile, file: IO[bytes], extra_keywords: tuple[str, ...], *, bare: bool, complete: bool) -> Header | None:
    """None where the file is deflated and not all of it is at hand."""
    meta = _meta(file, bare=bare)
    syntax = _syntax(meta, bare=bare or not meta, source=source)
    size, deflated_at = source.size, None
    if syntax == DeflatedExplicitVRLittleEndian:
        if not complete:
            return None
        deflated_at = file.tell()
        content = inflate(file.read(), source=source)
        file, size = io.BytesIO(content), len(content)
    ranges: list[tuple[int, int]] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in _PIXEL_TAGS:
            ranges.append((file.tell(), length if tag == _PIXEL_DATA else _UNDEFINED))
        return bool(ranges)

    dataset = read_dataset(
        file,  # type: ignore[arg-type]
        is_implicit_VR=syntax == ImplicitVRLittleEndian,
        is_little_endian=syntax != ExplicitVRBigEndian,
        stop_when=at_pixels,
        specific_tags=[tag for keyword in (*_KEYWORDS, *extra_keywords) if (tag := tag_for_keyword(keyword))],
    )
    header = Header(
        source=source,
        dataset=dataset,
        sop_class=text(dataset, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID"),
        syntax=syntax,
        size=size,
        deflated_at=deflated_at,
        has_pixels=bool(ranges),
        pixels=ranges[0] if ranges and ranges[0][1] != _UNDEFINED else None,
    )
    if not (bare or meta or header.sop_class or header.modality == "CT"):
        raise _without_syntax(source)
    return header


def _meta(file: IO[bytes], *, bare: bool) -> Dataset:
    """Group 2, and the file behind it."""
    file.seek(0 if bare else 132)
    return read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)  # type: ignore[arg-type]


def _syntax(meta: Dataset, *, bare: bool, source: StudyFile) -> UID:
    syntax = text(meta, "TransferSyntaxUID")
    if not syntax and not bare:
        raise _without_syntax(source)
    return UID(syntax or ImplicitVRLittleEndian)


def _without_syntax(source: StudyFile) -> CorruptFile:
    return CorruptFile(
        "TransferSyntaxUID is absent, so its encoding is not known",
        hint="Where the encoding is known, write it in: dcmodify -i 'TransferSyntaxUID=UID' FILE.",
        source=source.label,
    )


def _require_whole(header: Header) -> None:
    cut = header.pixels is not None and sum(header.pixels) > header.size
    image = header.sop_class in CT_CLASSES or "Rows" in header.dataset
    if cut or (image and not header.has_pixels):
        needs = f"; {sum(header.pixels):,} bytes are promised, {header.size:,} are there" if header.pixels else ""
        raise TruncatedFile(f"ends before its pixels do{needs}", hint="Copy it again.", source=header.source.label)


def inflate(deflated: bytes | memoryview, *, source: StudyFile) -> bytes:
    """Inflate a deflated data set, within a budget.

    Raises:
        BudgetExceeded: more than a scan may be.
        TruncatedFile: the deflate stream has no end.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    content = stream.decompress(deflated, MAX_INFLATED_BYTES)
    if stream.unconsumed_tail:
        raise BudgetExceeded(
            f"a deflated data set of {len(deflated):,} bytes inflates to more than {MAX_INFLATED_BYTES:,}",
            hint="Do not trust this file.",
            source=source.label,
        )
    if not stream.eof:
        raise TruncatedFile("its deflated data set has no end", hint="Copy it again.", source=source.label)
    return content

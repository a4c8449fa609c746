"""Tell what a file is to a CT volume: no DICOM, an object that is no slice, a slice, or damaged; of which series, and whether derived.

Reading, trees of scans and cohorts all ask here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import UID

from thoracle.ct.dicom.files import StudyFile
from thoracle.ct.dicom.frames import is_multiframe
from thoracle.ct.dicom.header import Header, items, numbers, peek_series, read_header, text
from thoracle.ct.formats import DICOM_SUFFIXES
from thoracle.errors import ScanError

_GRAYSCALE: Final = ("MONOCHROME1", "MONOCHROME2", "")
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"  # and its multi-frame kin, .7.1 to .7.4
_MODALITY_LENGTH: Final = 16  # of a code string (PS3.5, 6.2)
#: RescaleType of Hounsfield units, and of what nobody states (PS3.3, C.11.1.1.2).
_HOUNSFIELD_TYPES: Final = ("", "HU", "US")
#: Words of ImageType, or of descriptions of DERIVED images, and what they tell of.
_DERIVED_WORDS: Final = {
    "minimum intensity projection": "MINIP|MIN_IP|MINIMUM",
    "maximum intensity projection": "MIP|MAXIP|MAX_IP|MAXIMUM",
    "reformatted image": "MPR|MPVR|CPR|REFORMAT|REFORMATTED|MULTIPLANAR",
    "projection image": "PROJECTION|VRT|SSD",
    "combined images": "AVERAGE|MEAN|STD_DEVIATION|ADDITION|SUBTRACT|SUBTRACTION|DIFFERENCE",
    "map of another quantity": "PERFUSION|IODINE|EFF_Z|Z_EFF|ELECTRON_DENSITY",
}
_DERIVED_PATTERNS: Final = {reason: re.compile(f"(?<![A-Z])(?:{words})S?(?![A-Z])") for reason, words in _DERIVED_WORDS.items()}
_AXIAL_COSINE: Final = 0.85  # normal within 32 degrees of the body's axis: gantries tilt to 30


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyObject:
    """Describe one DICOM file; one of `header`, `rejection` and `error` is there.

    Attributes:
        source: the file.
        series: SeriesInstanceUID, "" where it has none; None where damage hides it.
        header: of a slice, or a stack of them.
        rejection: why an object is no slice of a CT volume.
        error: the damage.
    """

    source: StudyFile
    series: str | None
    header: Header | None = None
    rejection: str | None = None
    error: ScanError | None = None


def examine(source: StudyFile, *, extra_keywords: tuple[str, ...] = ()) -> StudyObject | None:
    """Tell what a file is; None where it is not DICOM. Damage is told, not raised: it is one file's."""
    try:
        header = read_header(source, extra_keywords=extra_keywords)
        reason = None if header is None else rejection_reason(header)
        if header is not None and reason is None:
            is_multiframe(header)  # NumberOfFrames is a number, whoever asks later
    except ScanError as error:
        return StudyObject(source=source, series=peek_series(source), error=error)
    if header is None:
        return None
    series = text(header.dataset, "SeriesInstanceUID")
    return StudyObject(source=source, series=series, header=None if reason else header, rejection=reason)


def is_misnamed(name: str) -> bool:
    """Tell whether a file that is not DICOM is called so; resource forks (`._NAME`) are not meant."""
    return name.lower().endswith(DICOM_SUFFIXES) and not name.startswith("._")


def rejection_reason(header: Header) -> str | None:
    """Say why an object cannot be a slice of a CT volume; None where it may be one.

    Returns:
        the modality of what is not CT, "localizer", "CT object without pixels", "colour image", or "secondary capture without position".

    Raises:
        CorruptFile: SamplesPerPixel is no whole number.
    """
    dataset = header.dataset
    if header.modality != "CT":
        return header.modality[:_MODALITY_LENGTH] or UID(header.sop_class).name or "object of no modality"
    if "LOCALIZER" in text(dataset, "ImageType").upper():
        return "localizer"
    if not header.has_pixels:
        return "CT object without pixels"
    if header.nonnegative_int("SamplesPerPixel", default=1) != 1 or text(dataset, "PhotometricInterpretation") not in _GRAYSCALE:
        return "colour image"
    positioned = "ImagePositionPatient" in dataset or "PerFrameFunctionalGroupsSequence" in dataset
    if header.sop_class.startswith(_SECONDARY_CAPTURE) and not positioned:
        return "secondary capture without position"
    return None


def derived_reason(header: Header) -> str | None:
    """Say what a slice was computed to be, if it is not a reconstruction in Hounsfield units; None where nothing says so.

    DERIVED alone is no reason: a compressed or anonymised slice may be called so.
    """
    units = next((kind for holder in (header.dataset, *_transformations(header)) if (kind := text(holder, "RescaleType"))), "").upper()
    if units not in _HOUNSFIELD_TYPES:
        return f"RescaleType {units[:_MODALITY_LENGTH]}"
    image_type = text(header.dataset, "ImageType").upper()
    descriptions = [image_type]
    if image_type.startswith("DERIVED"):
        descriptions += [text(header.dataset, keyword).upper() for keyword in ("SeriesDescription", "DerivationDescription")]
    known = next((reason for reason, words in _DERIVED_PATTERNS.items() if any(map(words.search, descriptions))), None)
    return known or ("reformatted image" if image_type.startswith("DERIVED") and is_axial(header) is False else None)


def is_axial(header: Header) -> bool | None:
    """Tell whether the slice of a classic file lies across the body; None where it does not say."""
    try:
        cosines = numbers(header.dataset, "ImageOrientationPatient", count=6, source=header.source)
    except ScanError:
        return None
    return None if cosines is None else abs(cosines[0] * cosines[4] - cosines[1] * cosines[3]) > _AXIAL_COSINE


def _transformations(header: Header) -> list[Dataset]:
    """The first pixel value transformations of multi-frame files, shared or of a frame."""
    groups = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
    return [
        transformation
        for group in groups
        for holder in items(header.dataset, group, source=header.source)[:1]
        for transformation in items(holder, "PixelValueTransformationSequence", source=header.source)[:1]
    ]

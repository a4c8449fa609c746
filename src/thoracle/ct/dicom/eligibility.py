"""Tell whether a DICOM object is a slice, or a stack of slices, of a CT volume."""

from __future__ import annotations

from typing import Final

from pydicom.uid import UID

from thoracle.ct.dicom.header import Header, text

_GRAYSCALE: Final = ("MONOCHROME1", "MONOCHROME2", "")
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"  # and its multi-frame kin, .7.1 to .7.4
_MODALITY_LENGTH: Final = 16  # of a code string (PS3.5, 6.2)


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

"""Slices of classic files and of multi-frame ones alike, as where they lie and how they scale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from thoracle.ct.dicom.decimals import read_decimals
from thoracle.ct.dicom.header import Header, items, numbers, text
from thoracle.errors import BudgetExceeded, CorruptFile, GeometryUnknown

Vector = NDArray[np.float64]
MAX_FRAMES: Final = 20_000
#: Where a frame says for itself what a classic file says of its one image (PS3.3, C.7.6.16.2 and C.8.15.3).
_FRAME_FIELDS: Final = {
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "TemporalPositionIdentifier": ("FrameContentSequence", "TemporalPositionIndex"),
    "TemporalPositionTimeOffset": ("TemporalPositionSequence", "TemporalPositionTimeOffset"),
    "NominalPercentageOfCardiacPhase": ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    "NominalPercentageOfRespiratoryPhase": ("RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase"),
    "StackID": ("FrameContentSequence", "StackID"),
    "ImageType": ("CTImageFrameTypeSequence", "FrameType"),
    "ConvolutionKernel": ("CTReconstructionSequence", "ConvolutionKernel"),
    "KVP": ("CTXRayDetailsSequence", "KVP"),
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "AcquisitionTime": ("FrameContentSequence", "FrameAcquisitionDateTime"),
}
#: Where a converted file keeps what its classic slices said beyond that.
_CONVERTED: Final = "UnassignedPerFrameConvertedAttributesSequence"


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """Hold one frame of one file.

    Attributes:
        position: (3,) LPS mm of the centre of the first voxel (ImagePositionPatient).
        orientation: (2, 3) directions of growing column index and growing row index (ImageOrientationPatient).
        spacing: (2,) mm between rows, mm between columns (PixelSpacing).
        thickness: SliceThickness, which says nothing of where the next slice lies.
        rescale: slope and intercept, None where either is absent.
        rescale_type: RescaleType, "" where it is absent.
        repaired: fields whose numbers were written with a comma for the point, or with a wrong separator.
        groups: functional groups of the frame, its own before the shared ones.
    """

    header: Header
    frame: int
    rows: int
    columns: int
    position: Vector
    orientation: Vector
    spacing: Vector
    thickness: float | None
    rescale: tuple[float, float] | None
    rescale_type: str = ""
    repaired: tuple[str, ...] = ()
    groups: tuple[Dataset, ...] = ()


def is_multiframe(header: Header) -> bool:
    """Tell whether one file holds a series by itself."""
    return "PerFrameFunctionalGroupsSequence" in header.dataset or header.nonnegative_int("NumberOfFrames", default=1) > 1


def slices_of(header: Header) -> tuple[Slice, ...]:
    """List every frame of a file, in stored order.

    Raises:
        GeometryUnknown: position, orientation or spacing is absent.
        GeometryInvalid: they are not finite numbers.
        CorruptFile: rows, columns or frames contradict each other.
    """
    frames = header.nonnegative_int("NumberOfFrames", default=1)
    per_frame = items(header.dataset, "PerFrameFunctionalGroupsSequence", source=header.source)
    if frames > MAX_FRAMES:
        raise BudgetExceeded(f"promises {frames:,} frames", hint="Export the series again.", source=header.source.label)
    if frames < 1 or (per_frame and len(per_frame) != frames):
        raise CorruptFile(
            f"NumberOfFrames is {frames}, but {len(per_frame)} frames are described", hint="Export it again.", source=header.source.label
        )
    shared = items(header.dataset, "SharedFunctionalGroupsSequence", source=header.source)[:1]
    return tuple(_slice(header, frame, (*per_frame[frame : frame + 1], *shared)) for frame in range(frames))


def frame_text(piece: Slice, keyword: str) -> str:
    """Return what a frame, or else its file, says in a field, as one line; "" where neither says anything.

    Raises:
        CorruptFile: a functional group cannot be parsed.
    """
    for macro, name in (_FRAME_FIELDS.get(keyword, ("", "")), (_CONVERTED, keyword)):
        for group in piece.groups if macro else ():
            for holder in items(group, macro, source=piece.header.source)[:1]:
                if content := text(holder, name):
                    return content
    return text(piece.header.dataset, keyword)


def decimal_notes(slices: Sequence[Slice]) -> tuple[str, ...]:
    """Say which fields were read although their numbers were written wrongly, and in how many slices."""
    counts = Counter(keyword for source_slice in slices for keyword in source_slice.repaired)
    return tuple(f"{keyword} of {count} slices: comma or other separator read as meant" for keyword, count in sorted(counts.items()))


def _slice(header: Header, frame: int, groups: tuple[Dataset, ...]) -> Slice:
    def find(macro: str, keyword: str, count: int) -> tuple[float, ...] | None:
        """Look up an attribute in the frame's functional groups, then the shared ones, then the data set itself."""
        holders = [holder for group in groups for holder in items(group, macro, source=header.source)[:1]]
        for holder in (*holders, header.dataset):
            values = read_decimals(holder, keyword, count=count)
            if values is not None:
                repaired.append(keyword)
                return values
            values = numbers(holder, keyword, count=count, source=header.source)
            if values is not None:
                return values
        return None

    repaired: list[str] = []
    transformations = [holder for group in groups for holder in items(group, "PixelValueTransformationSequence", source=header.source)[:1]]
    slope, intercept = (find("PixelValueTransformationSequence", name, 1) for name in ("RescaleSlope", "RescaleIntercept"))
    thickness = find("PixelMeasuresSequence", "SliceThickness", 1)
    return Slice(
        header=header,
        frame=frame,
        rows=header.nonnegative_int("Rows"),
        columns=header.nonnegative_int("Columns"),
        position=_required(find, header, "PlanePositionSequence", "ImagePositionPatient", 3),
        orientation=_required(find, header, "PlaneOrientationSequence", "ImageOrientationPatient", 6).reshape(2, 3),
        spacing=_required(find, header, "PixelMeasuresSequence", "PixelSpacing", 2),
        thickness=thickness[0] if thickness else None,
        rescale=(slope[0], intercept[0]) if slope and intercept else None,
        rescale_type=next(filter(None, (text(holder, "RescaleType") for holder in (*transformations, header.dataset))), ""),
        repaired=tuple(repaired),
        groups=groups,
    )


def _required(find: Callable[[str, str, int], tuple[float, ...] | None], header: Header, macro: str, keyword: str, count: int) -> Vector:
    values = find(macro, keyword, count)
    if values is None:
        raise GeometryUnknown(
            f"{keyword} is absent, so it is not known where the slice lies", hint="Export the original series.", source=header.source.label
        )
    return np.array(values, dtype=np.float64)

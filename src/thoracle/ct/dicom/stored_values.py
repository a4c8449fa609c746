"""Turn the cells of PixelData into stored values: which bits count, whether they are signed, and which voxels are padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from scipy import ndimage

from thoracle.ct.dicom.frames import Slice
from thoracle.ct.geometry.lps import AIR_HU
from thoracle.ct.hounsfield_evidence import Histogram, hounsfield_evidence
from thoracle.ct.stored import Rescale
from thoracle.types import StoredArray

Mask = NDArray[np.bool_]
_WIDE_BITS: Final = 13  # numbers of so many bits and more do not end where CT does: their upper half is empty
_SAMPLE: Final = 20_000  # voxels of a slice, enough to tell CT
_BODY_HU: Final = (-900.0, 2000.0)  # padding that reads as such could be lung, tissue or bone


class SampleFormat(NamedTuple):
    """Say how a slice's samples lie in their cells: BitsAllocated, the low bits that count, whether they are signed by the header, and by
    the codestream.
    """

    allocated: int
    bits: int
    signed: bool
    codec_signed: bool = False


def sample_values(cells: NDArray[Any], form: SampleFormat) -> NDArray[Any]:
    """Read cells as numbers: what lies above the bits that count is not ours (old overlays), a sign is extended from the highest."""
    numbers = cells.view(f"{'i' if form.signed else 'u'}{cells.itemsize}")
    unused = 8 * cells.itemsize - form.bits
    return numbers << unused >> unused if unused else numbers


def stored_array(cells: NDArray[Any], forms: Sequence[SampleFormat]) -> StoredArray:
    """Read all slices, in place where all are signed or none is."""
    signs = {form.signed for form in forms}
    kinds = [np.dtype(f"{'i' if signed else 'u'}{cells.itemsize}") for signed in signs]
    values = cells.view(kinds[0]) if len(kinds) == 1 else np.empty(cells.shape, np.result_type(*kinds))
    for k, form in enumerate(forms):
        values[k] = sample_values(cells[k], form)
    return values


# Padding


def find_padding(cells: NDArray[Any], forms: Sequence[SampleFormat], slices: Sequence[Slice]) -> tuple[Mask | None, tuple[str, ...]]:
    """Find voxels that PixelPaddingValue, or its range to PixelPaddingRangeLimit, declares to be none, and say how many.

    Padding that reads as lung, tissue or bone is believed where it reaches the edge of its slice: 0 is declared by some who store HU.
    """
    mask = np.zeros(cells.shape, dtype=np.bool_)
    declared: set[str] = set()
    for k, (form, source_slice) in enumerate(zip(forms, slices, strict=True)):
        padding = _padding_range(source_slice.header.dataset, signed=form.signed)
        if padding is None:
            continue
        low, high = padding
        values = sample_values(cells[k], form if _fits(low, form) and _fits(high, form) else form._replace(bits=8 * cells.itemsize))
        mask[k] = (values >= low) & (values <= high)
        ends = sorted(_wrapped(end, form) for end in padding)
        if _could_be_body(low, high, source_slice.rescale) or _could_be_body(ends[0], ends[1], source_slice.rescale):
            mask[k] = _reaching_edge(mask[k])
        if mask[k].any():
            declared.add(f"{low}" if low == high else f"{low} to {high}")
    count = np.count_nonzero(mask)
    if count in (0, mask.size):
        return None, ()
    return mask, (f"PixelPaddingValue {', '.join(sorted(declared))}: {count:,} voxels taken as air ({AIR_HU} HU)",)


def _padding_range(dataset: Dataset, *, signed: bool) -> tuple[int, int] | None:
    """Both ends in ascending order, read as PixelRepresentation has it: writers take the wrong one of the two types, US and SS."""
    ends = [
        number - 0x10000 if signed and number & 0x8000 else number
        for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")
        if (number := _sixteen_bits(dataset.get_item(tag_for_keyword(keyword) or 0))) is not None
    ]
    declared = _sixteen_bits(dataset.get_item(tag_for_keyword("PixelPaddingValue") or 0)) is not None
    return (min(ends), max(ends)) if declared else None


def _sixteen_bits(element: Any) -> int | None:
    """None where it is absent or no number; the type US or SS is unknown to files in implicit encoding."""
    content = getattr(element, "value", None)
    if isinstance(content, bytes) and len(content) >= 2:
        return int.from_bytes(content[:2], "little" if getattr(element, "is_little_endian", True) else "big")
    return content & 0xFFFF if isinstance(content, int) else None


def _fits(number: int, form: SampleFormat) -> bool:
    half = 1 << (form.bits - 1)
    return -half <= number < half if form.signed else 0 <= number < 2 * half


def _wrapped(number: int, form: SampleFormat) -> int:
    """What a number becomes in the bits that count: 8191 is -1 where 13 are signed."""
    half = 1 << (form.bits - 1)
    return (number + half) % (2 * half) - half if form.signed else number % (2 * half)


def _could_be_body(low: int, high: int, rescale: tuple[float, float] | None) -> bool:
    """Whether by the slice's rescale or as Hounsfield units already."""
    readings = [(1.0, 0.0)] if rescale is None else [(1.0, 0.0), rescale]
    ends = (sorted((slope * low + intercept, slope * high + intercept)) for slope, intercept in readings)
    return any(first < _BODY_HU[1] and last > _BODY_HU[0] for first, last in ends)


def _reaching_edge(mask: Mask) -> Mask:
    parts, count = ndimage.label(mask)
    touching = np.zeros(count + 1, dtype=np.bool_)
    for side in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        touching[side] = True
    touching[0] = False
    outside: Mask = touching[parts]
    return outside


# Sign


def find_sign(
    cells: NDArray[Any], forms: Sequence[SampleFormat], slices: Sequence[Slice], padding: Mask | None
) -> tuple[tuple[SampleFormat, ...], tuple[str, ...]]:
    """Correct the label of negative values that PixelRepresentation calls unsigned, where they can be nothing else, and say so."""
    corrected = list(forms)
    count = 0
    for form in sorted({form for form in forms if not form.signed}):
        labelled = [k for k, other in enumerate(forms) if other == form]
        groups = [cells[k] if padding is None else cells[k][~padding[k]] for k in labelled]
        signed = _signed_form(groups, form, slices[labelled[0]].rescale)
        if signed is not None:
            count += sum(int(np.count_nonzero(sample_values(group, signed) < 0)) for group in groups)
            for k in labelled:
                corrected[k] = signed
    note = f"PixelRepresentation 0 (unsigned) is not borne out by the pixels: {count:,} voxels read as negative"
    return tuple(corrected), (note,) if count else ()


def _signed_form(groups: Sequence[NDArray[Any]], form: SampleFormat, rescale: tuple[float, float] | None) -> SampleFormat | None:
    """Return how the cells are signed; None where they are unsigned as labelled."""
    numbers = [sample_values(group, form) for group in groups]
    if not form.codec_signed and _are_sign_extended(groups, numbers, form):
        return form._replace(bits=form.allocated, signed=True)
    signed = form._replace(signed=True)
    highest = max((int(group.max()) for group in numbers if group.size), default=0)
    if highest < 1 << (form.bits - 1):
        return None
    if (form.codec_signed or form.bits >= _WIDE_BITS) and _are_apart(numbers, form):
        return signed
    sample = np.concatenate([group[:: max(1, group.size // _SAMPLE)].ravel() for group in groups])
    is_ct = [_is_ct(sample_values(sample, reading), rescale) for reading in (form, signed)]
    return signed if is_ct == [False, True] else None


def _are_sign_extended(groups: Sequence[NDArray[Any]], numbers: Sequence[NDArray[Any]], form: SampleFormat) -> bool:
    """Whether unused bits are all set beside a set sign bit and all clear elsewhere; rubbish in them (old overlays) is otherwise."""
    if form.bits == form.allocated:
        return False
    ones, sign = (1 << (form.allocated - form.bits)) - 1, 1 << (form.bits - 1)
    found = False
    for cells, values in zip(groups, numbers, strict=True):
        unused = cells >> form.bits
        negative = unused == ones
        if (unused[~negative] != 0).any() or (values[negative] < sign).any():
            return False
        found |= bool(negative.any())
    return found


def _are_apart(numbers: Sequence[NDArray[Any]], form: SampleFormat) -> bool:
    """Whether the upper half of the numbers is empty but for its highest quarter, where small negative numbers come to lie."""
    top, half = 7 << (form.bits - 3), 1 << (form.bits - 1)
    return not any(((values >= half) & (values < top)).any() for values in numbers)


def _is_ct(values: NDArray[Any], rescale: tuple[float, float] | None) -> bool:
    sample = Histogram.of(values.reshape(-1, 1, 1))
    readings = {(1.0, 0.0), rescale or (1.0, 0.0)}
    return any(hounsfield_evidence(sample, Rescale(slope=a, intercept=b, source="")) is not None for a, b in readings if a)

"""Convert stored numbers to Hounsfield units: candidates come from what is declared, the voxels decide.

The steps people get wrong (1024, 8192) move air, lung, fat and muscle far out of their places, so that one candidate at most is
believed. See docs/decisions/0002-hounsfield-evidence.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from thoracle.ct.geometry.lps import AIR_HU
from thoracle.ct.hounsfield_evidence import Histogram, hounsfield_evidence
from thoracle.ct.stored import Rescale, StoredScan
from thoracle.ct.volume import HounsfieldSource
from thoracle.errors import HounsfieldUnknown, NotCT, VoxelsInvalid
from thoracle.types import HounsfieldArray, StoredArray

if TYPE_CHECKING:
    from thoracle.ct.metadata import MetadataRow

_STORED = Rescale(slope=1.0, intercept=0.0, source="stored")
_SLAB = 1 << 19  # voxels converted at a time: stays in cache, and makes no second array of float64
_INT16 = np.iinfo(np.int16)
_MOST_LABELS = 200  # a body has fewer parts with names, an image in 8 bits more grey levels
_LARGEST = 1e9  # no scale of CT goes near
_SAME = 100.0  # HU; readings that differ by less than this the voxels cannot tell apart

_HINT = (
    "If the numbers are Hounsfield units as they are, say --hu stored (hu='stored'); if slope and intercept of the file or of "
    "--metadata make them so, say --hu rescale (hu='rescale')."
)


def resolve_hounsfield(
    stored: StoredScan, *, row: MetadataRow | None, hu: Literal["auto", "stored", "rescale"], source: str
) -> tuple[HounsfieldArray, HounsfieldSource]:
    """Turn stored numbers into Hounsfield units, and say on what grounds.

    Args:
        stored: one scan as its file stores it; its array is returned itself where nothing needs to change.
        row: what a metadata table says of the scan.
        hu: "auto" lets the voxels decide between the numbers as they are, the file's rescale and the row's; "stored" takes the
            numbers before any rescale; "rescale" applies the row's slope and intercept, else the file's.
        source: the scan's name in messages.

    Returns:
        HU in the stored axis order and memory layout, int16 where every value is whole and fits, else float32; and their source.

    Raises:
        HounsfieldUnknown: no candidate, or several that contradict each other, look like CT; or nothing is declared to be applied.
        NotCT: the voxels are a label map.
        VoxelsInvalid: NaN or infinite voxels.
    """
    declared = _declared(stored, row)
    _require_finite(stored.voxels, source)
    if hu == "stored":
        chosen, evidence = _STORED, "stated by the user"
    elif hu == "rescale":
        if not declared:
            raise HounsfieldUnknown("declares no slope and intercept to apply", hint="Give --metadata, or say --hu stored.", source=source)
        chosen, evidence = declared[0], "stated by the user"
    else:
        chosen, evidence = _choose(stored, declared, source)
    units = _convert(stored.voxels, chosen)
    if stored.padding is not None:
        units[stored.padding] = AIR_HU
    if hu == "auto" and units.dtype.kind == "f" and (highest := float(units.max())) > _INT16.max:
        detail = f"its numbers make up to {highest:,.0f} HU, which nothing in a body has: negative numbers that were stored unsigned?"
        raise HounsfieldUnknown(detail, hint=_HINT, source=source)
    return units, _provenance(chosen, declared, evidence)


def _declared(stored: StoredScan, row: MetadataRow | None) -> tuple[Rescale, ...]:
    """The row's statement, then the file's."""
    statements = [] if stored.rescale is None else [stored.rescale]
    if row is not None and row.slope is not None and row.intercept is not None:
        statements.insert(0, Rescale(slope=row.slope, intercept=row.intercept, source="metadata row"))
    return tuple(statement for statement in statements if 0 < abs(statement.slope) < _LARGEST and abs(statement.intercept) < _LARGEST)


def _provenance(chosen: Rescale, declared: tuple[Rescale, ...], evidence: str) -> HounsfieldSource:
    left_out = tuple(
        _described(statement) for statement in declared if statement.source not in chosen.source and not _equal(statement, chosen)
    )
    return HounsfieldSource(
        slope=chosen.slope, intercept=chosen.intercept, source=chosen.source, evidence=evidence, ignored_rescales=left_out
    )


def _described(rescale: Rescale) -> str:
    return f"{rescale.source}: slope {rescale.slope:g}, intercept {rescale.intercept:g}"


def _equal(first: Rescale, second: Rescale) -> bool:
    return (first.slope, first.intercept) == (second.slope, second.intercept)


# Choosing


def _choose(stored: StoredScan, declared: tuple[Rescale, ...], source: str) -> tuple[Rescale, str]:
    """The candidate to believe, and why; declared padding has no say."""
    inside = stored.voxels if stored.padding is None else stored.voxels[~stored.padding].reshape(-1, 1, 1)
    sample, candidates = Histogram.of(inside), _candidates(declared)
    believed = [(statement, evidence) for statement in candidates if (evidence := hounsfield_evidence(sample, statement)) is not None]
    if not believed:
        _refuse_label_map(stored.voxels, sample, source)
        tried = "; ".join(map(_described, candidates))
        detail = (
            f"the numbers run from {sample.values[0]:g} to {sample.values[-1]:g} and show no air, lung, fat and muscle where CT has them, "
            f"as MR, PET, normalised or unscaled images do (tried {tried})"
        )
        raise HounsfieldUnknown(detail, hint=_HINT, source=source)
    # Candidates come in the order of belief, so that what is declared wins where the voxels cannot tell.
    (first, evidence), *others = believed
    for rival, _ in others:
        if not _alike(first, rival):
            detail = f"voxels look like CT read as {_described(first)} and as {_described(rival)}"
            raise HounsfieldUnknown(detail, hint=_HINT, source=source)
    return first, evidence


def _candidates(declared: tuple[Rescale, ...]) -> list[Rescale]:
    """Each statement alone, the row's after the file's, and the numbers as they are; equal ones once."""
    candidates = list(declared)
    if len(declared) == 2:
        row, file = declared
        slope, intercept = row.slope * file.slope, row.slope * file.intercept + row.intercept
        candidates.append(Rescale(slope=slope, intercept=intercept, source=f"{file.source}, then {row.source}"))
    candidates.append(_STORED)
    return [statement for at, statement in enumerate(candidates) if not any(_equal(statement, before) for before in candidates[:at])]


def _alike(first: Rescale, second: Rescale) -> bool:
    """Do two candidates give nearly the same HU for what `one` reads as air, water and bone?"""
    stored = (np.array([-1000.0, 0.0, 1000.0]) - first.intercept) / first.slope
    return bool(np.abs(stored * second.slope + second.intercept - (stored * first.slope + first.intercept)).max() < _SAME)


def _refuse_label_map(voxels: StoredArray, sample: Histogram, source: str) -> None:
    """Few whole numbers in flat patches: a segmentation."""
    labels = sample.values
    if len(labels) > _MOST_LABELS or labels[0] < 0 or (labels != np.rint(labels)).any():
        return
    part = voxels[tuple(slice(max(0, n // 2 - 64), n // 2 + 64) for n in voxels.shape)]
    here, there = part[1:], part[:-1]
    inside = (here != 0) | (there != 0)
    if inside.any() and (here == there)[inside].mean() > 0.5:
        detail = f"expected CT, got {len(labels)} whole numbers from {labels[0]:g} to {labels[-1]:g} in flat patches: a segmentation"
        raise NotCT(detail, hint="Give the scan it was drawn on.", source=source)


# Converting


def _require_finite(voxels: StoredArray, source: str) -> None:
    if voxels.dtype.kind != "f":
        return
    for slab in _slabs(voxels):
        # A comparison with NaN is false, and min and max hand NaN on.
        if not (voxels[slab].min() > -_LARGEST and voxels[slab].max() < _LARGEST):
            detail = f"expected numbers, some voxels are NaN, infinite or beyond {_LARGEST:g}"
            raise VoxelsInvalid(detail, hint="Export the scan again.", source=source)


def _convert(voxels: StoredArray, rescale: Rescale) -> HounsfieldArray:
    if voxels.dtype == np.int16 and _equal(rescale, _STORED):
        return voxels
    if voxels.dtype.kind in "iu" and rescale.slope == 1 and float(rescale.intercept).is_integer():
        shifted = _shifted(voxels, int(rescale.intercept))
    else:
        shifted = _whole(voxels, rescale)
    if shifted is not None:
        return shifted
    if voxels.dtype == np.float32 and _equal(rescale, _STORED):
        return voxels
    units = np.empty_like(voxels, dtype=np.float32)
    for slab in _slabs(voxels):
        units[slab] = voxels[slab].astype(np.float64) * rescale.slope + rescale.intercept
    return units


def _shifted(voxels: StoredArray, shift: int) -> NDArray[np.int16] | None:
    """Integers plus an integer; None where a sum does not fit."""
    units = np.empty_like(voxels, dtype=np.int16)
    # Arithmetic modulo 2**16 is right wherever the sum fits, whatever wrapped on the way.
    wrapped = np.int64(shift).astype(np.int16)
    for slab in _slabs(voxels):
        part = voxels[slab]
        if int(part.min()) + shift < _INT16.min or int(part.max()) + shift > _INT16.max:
            return None
        np.add(part.astype(np.int16, copy=False), wrapped, out=units[slab])
    return units


def _whole(voxels: StoredArray, rescale: Rescale) -> NDArray[np.int16] | None:
    """The general case in int16; None where a value is not whole or does not fit."""
    units = np.empty_like(voxels, dtype=np.int16)
    for slab in _slabs(voxels):
        part = voxels[slab] if _equal(rescale, _STORED) else voxels[slab].astype(np.float64) * rescale.slope + rescale.intercept
        with np.errstate(invalid="ignore"):  # what does not fit compares unequal
            units[slab] = part
        if (units[slab] != part).any():
            return None
    return units


def _slabs(voxels: StoredArray) -> Iterator[tuple[slice, ...]]:
    """Indices of contiguous parts of about `_SLAB` voxels."""
    slowest = int(np.argmax(np.abs(voxels.strides)))
    thickness = max(1, _SLAB * voxels.shape[slowest] // max(1, voxels.size))
    for start in range(0, voxels.shape[slowest], thickness):
        yield (slice(None),) * slowest + (slice(start, start + thickness),)

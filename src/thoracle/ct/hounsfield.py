"""How stored numbers become Hounsfield units: candidates from what is declared, one chosen by the voxels; knows no format and no geometry.

A candidate is believed when its histogram has the landmarks of the Hounsfield scale: air at -1000 or lung, and tissue between fat (-100)
and muscle (50), with a valley between. The steps people get wrong (1024, 8192) move every landmark out of its place. See
docs/decisions/0002-hounsfield-evidence.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from thoracle.ct.stored import Rescale, StoredScan
from thoracle.ct.volume import HounsfieldSource
from thoracle.errors import HounsfieldUnknown, NotCT, VoxelsInvalid
from thoracle.types import HounsfieldArray, StoredArray

if TYPE_CHECKING:
    from thoracle.ct.metadata import ScanRow

_STORED = Rescale(slope=1.0, intercept=0.0, source="stored")
_SAMPLE = 500_000  # voxels; a share of 0.1% is then known to a tenth of itself
_SLAB = 1 << 19  # voxels converted at a time: stays in cache, and makes no second array of float64
_INT16 = np.iinfo(np.int16)
_LARGEST = 1e9  # no scale of CT goes near

_LOWEST = -1200.0  # noise of a low-dose scan reaches this far below air; what is lower is padding or another scale
_GAS, _BETWEEN, _TISSUE, _DENSE, _HIGHEST = -500.0, -200.0, 200.0, 900.0, 32767.0  # upper ends, HU
_AIR_OR_LUNG = (-1060.0, -600.0)  # where the gas of a true scan has its mode
_FAT, _FAT_PEAK, _WATER = (-160.0, -40.0), (-140.0, -80.0), (-20.0, 120.0)
_BIN = 20.0
_SAME = 100.0  # HU; readings that differ by less than this the voxels cannot tell apart

_CURE = (
    "If the numbers are Hounsfield units as they are, say --hu stored (hu='stored'); if slope and intercept of the file or of "
    "--metadata make them so, say --hu rescale (hu='rescale')."
)


@dataclass(frozen=True)
class _Histogram:
    """Distinct values of a sample of voxels, ascending, and the share of the sample at each."""

    values: NDArray[np.float64]
    shares: NDArray[np.float64]

    def between(self, low: float, high: float) -> float:
        """Share of the sample in [low, high)."""
        first, last = np.searchsorted(self.values, (low, high))
        return float(self.shares[first:last].sum())

    def mode(self, low: float, high: float) -> float:
        """Centre of the fullest bin in [low, high)."""
        counts, edges = np.histogram(self.values, bins=np.arange(low, high + _BIN, _BIN), weights=self.shares)
        return float(edges[int(counts.argmax())] + _BIN / 2)


@dataclass(frozen=True)
class _Reading:
    """One candidate and what it makes of the sample: `evidence` if that is a CT scan, else None."""

    rescale: Rescale
    evidence: str | None


def settle_hounsfield(
    stored: StoredScan, *, row: ScanRow | None, hu: Literal["auto", "stored", "rescale"], source: str
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
        return _convert(stored.voxels, _STORED), _provenance(_STORED, declared, "stated by the user")
    if hu == "rescale":
        if not declared:
            raise HounsfieldUnknown("declares no slope and intercept to apply", cure="Give --metadata, or say --hu stored.", source=source)
        return _convert(stored.voxels, declared[0]), _provenance(declared[0], declared, "stated by the user")
    chosen = _choose(stored.voxels, declared, source)
    return _convert(stored.voxels, chosen.rescale), _provenance(chosen.rescale, declared, str(chosen.evidence))


def _declared(stored: StoredScan, row: ScanRow | None) -> tuple[Rescale, ...]:
    """The row's statement, then the file's."""
    statements = [] if stored.rescale is None else [stored.rescale]
    if row is not None and row.slope is not None and row.intercept is not None:
        statements.insert(0, Rescale(slope=row.slope, intercept=row.intercept, source="metadata row"))
    return tuple(each for each in statements if 0 < abs(each.slope) < _LARGEST and abs(each.intercept) < _LARGEST)


def _provenance(chosen: Rescale, declared: tuple[Rescale, ...], evidence: str) -> HounsfieldSource:
    left_out = tuple(_described(each) for each in declared if each.source not in chosen.source and not _equal(each, chosen))
    return HounsfieldSource(slope=chosen.slope, intercept=chosen.intercept, source=chosen.source, evidence=evidence, not_applied=left_out)


def _described(rescale: Rescale) -> str:
    return f"{rescale.source}: slope {rescale.slope:g}, intercept {rescale.intercept:g}"


def _equal(one: Rescale, other: Rescale) -> bool:
    return (one.slope, one.intercept) == (other.slope, other.intercept)


# Choosing


def _choose(voxels: StoredArray, declared: tuple[Rescale, ...], source: str) -> _Reading:
    sample = _histogram(voxels)
    readings = [_Reading(each, _evidence(sample, each)) for each in _candidates(declared)]
    plausible = [each for each in readings if each.evidence is not None]
    if not plausible:
        _refuse_label_map(voxels, sample, source)
        tried = "; ".join(_described(each.rescale) for each in readings)
        fact = (
            f"the numbers run from {sample.values[0]:g} to {sample.values[-1]:g} and show no air, lung, fat and muscle where CT has them, "
            f"as MR, PET, normalised or unscaled images do (tried {tried})"
        )
        raise HounsfieldUnknown(fact, cure=_CURE, source=source)
    # Candidates come in the order of belief, so that what is declared wins where the voxels cannot tell.
    first, *others = plausible
    for other in others:
        if not _alike(first.rescale, other.rescale):
            fact = f"voxels look like CT read as {_described(first.rescale)} and as {_described(other.rescale)}"
            raise HounsfieldUnknown(fact, cure=_CURE, source=source)
    return first


def _candidates(declared: tuple[Rescale, ...]) -> list[Rescale]:
    """Each statement alone, the row's after the file's, and the numbers as they are; equal ones once."""
    candidates = list(declared)
    if len(declared) == 2:
        row, file = declared
        slope, intercept = row.slope * file.slope, row.slope * file.intercept + row.intercept
        candidates.append(Rescale(slope=slope, intercept=intercept, source=f"{file.source}, then {row.source}"))
    candidates.append(_STORED)
    return [each for at, each in enumerate(candidates) if not any(_equal(each, before) for before in candidates[:at])]


def _alike(one: Rescale, other: Rescale) -> bool:
    """Do two candidates give nearly the same HU for what `one` reads as air, water and bone?"""
    stored = (np.array([-1000.0, 0.0, 1000.0]) - one.intercept) / one.slope
    return bool(np.abs(stored * other.slope + other.intercept - (stored * one.slope + one.intercept)).max() < _SAME)


def _histogram(voxels: StoredArray) -> _Histogram:
    step = max(1, round((voxels.size / _SAMPLE) ** (1 / 3)))
    values, counts = np.unique(voxels[::step, ::step, ::step], return_counts=True)
    return _Histogram(values.astype(np.float64), counts / counts.sum())


def _evidence(sample: _Histogram, rescale: Rescale) -> str | None:
    """What makes this candidate a CT scan, in words; None if it is none."""
    order = slice(None) if rescale.slope > 0 else slice(None, None, -1)
    units = _Histogram((sample.values * rescale.slope + rescale.intercept)[order], sample.shares[order])
    units, padding = _without_padding(units, tolerance=max(8.0, 2 * abs(rescale.slope)))
    if not units.values.size or units.between(-np.inf, _LOWEST) > 0.05:
        return None
    landmarks = _gas_and_tissue(units) or _fat_and_water(units)
    return landmarks and landmarks + padding


def _without_padding(units: _Histogram, *, tolerance: float) -> tuple[_Histogram, str]:
    """Set aside one value far below all others, as outside the field of view (-2048, -3024, -8192 …), with its interpolated fringe."""
    floor = float(units.values[np.searchsorted(units.shares.cumsum(), 0.005)])
    edge = floor + 2 * tolerance
    padding, fringe = units.between(-np.inf, edge), units.between(edge, max(floor + 200, _LOWEST))
    if padding < 0.01 or fringe > 0.2 * padding:
        return units, ""
    kept = units.values >= max(edge, _LOWEST)
    rest = units.shares[kept]
    return _Histogram(units.values[kept], rest / rest.sum()), f"; {padding:.0%} padding of {floor:g} set aside"


def _gas_and_tissue(units: _Histogram) -> str | None:
    """Air or lung; tissue, some of it like water, as muscle and blood are; and a valley between."""
    gas, between, tissue, dense = _shares(units)
    peak = units.mode(_LOWEST, _GAS)
    valley = between / (_BETWEEN - _GAS) < tissue / (_TISSUE - _BETWEEN)
    watery = units.between(*_WATER) > 0.1 * (tissue + dense)
    enough = gas > 0.03 and tissue > 0.003 and units.between(_DENSE, np.inf) < 0.1
    if not (enough and valley and watery and _AIR_OR_LUNG[0] < peak < _AIR_OR_LUNG[1]):
        return None
    return f"air or lung peaks at {peak:.0f} HU, tissue at {units.mode(_BETWEEN, _TISSUE):.0f} HU"


def _fat_and_water(units: _Histogram) -> str | None:
    """A crop inside the body: fat and muscle in their places, some bone, calcium or contrast agent, hardly anything below fat."""
    gas, between, _, dense = _shares(units)
    fat, water = units.between(*_FAT), units.between(*_WATER)
    enough = water > 0.1 and 0.03 < fat < 1.5 * water and dense > 0.003 and units.between(_DENSE, np.inf) < 0.02
    peak = units.mode(*_FAT)
    clipped = units.shares[0] > 0.01  # a window's lower end, not a scale's
    if not enough or clipped or gas + between > 0.1 or not _FAT_PEAK[0] < peak < _FAT_PEAK[1]:
        return None
    return f"fat peaks at {peak:.0f} HU, muscle at {units.mode(*_WATER):.0f} HU, no air in the crop"


def _shares(units: _Histogram) -> tuple[float, float, float, float]:
    edges = (_LOWEST, _GAS, _BETWEEN, _TISSUE, _DENSE)
    gas, between, tissue, dense = (units.between(low, high) for low, high in pairwise(edges))
    return gas, between, tissue, dense


def _refuse_label_map(voxels: StoredArray, sample: _Histogram, source: str) -> None:
    """Few whole numbers in flat patches: a segmentation."""
    labels = sample.values
    if len(labels) > 256 or labels[0] < 0 or (labels != np.rint(labels)).any():
        return
    part = voxels[tuple(slice(max(0, n // 2 - 64), n // 2 + 64) for n in voxels.shape)]
    here, there = part[1:], part[:-1]
    inside = (here != 0) | (there != 0)
    if inside.any() and (here == there)[inside].mean() > 0.5:
        fact = f"expected CT, got {len(labels)} whole numbers from {labels[0]:g} to {labels[-1]:g} in flat patches: a segmentation"
        raise NotCT(fact, cure="Give the scan it was drawn on.", source=source)


# Converting


def _require_finite(voxels: StoredArray, source: str) -> None:
    if voxels.dtype.kind != "f":
        return
    for slab in _slabs(voxels):
        # A comparison with NaN is false, and min and max hand NaN on.
        if not (voxels[slab].min() > -_LARGEST and voxels[slab].max() < _LARGEST):
            fact = f"expected numbers, some voxels are NaN, infinite or beyond {_LARGEST:g}"
            raise VoxelsInvalid(fact, cure="Export the scan again.", source=source)


def _convert(voxels: StoredArray, rescale: Rescale) -> HounsfieldArray:
    if voxels.dtype == np.int16 and _equal(rescale, _STORED):
        return voxels
    if voxels.dtype.kind in "iu" and rescale.slope == 1 and float(rescale.intercept).is_integer():
        whole = _shifted(voxels, int(rescale.intercept))
    else:
        whole = _whole(voxels, rescale)
    if whole is not None:
        return whole
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
    """Indices of contiguous parts of about a million voxels."""
    slowest = int(np.argmax(np.abs(voxels.strides)))
    thickness = max(1, _SLAB * voxels.shape[slowest] // max(1, voxels.size))
    for start in range(0, voxels.shape[slowest], thickness):
        yield (slice(None),) * slowest + (slice(start, start + thickness),)

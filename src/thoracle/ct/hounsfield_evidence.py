"""Test whether numbers lie on the Hounsfield scale by a histogram's air, lung, fat and muscle.

The reasons for each bound, and what they cost, are in docs/decisions/0002-hounsfield-evidence.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from thoracle.ct.stored import Rescale
from thoracle.types import StoredArray

_SAMPLE = 500_000  # voxels; a share of 0.1% is then known to a tenth of itself

_LOWEST = -1200.0  # noise of a low-dose scan reaches this far below air; what is lower is padding or another scale
_GAS, _BETWEEN, _TISSUE, _DENSE = -500.0, -200.0, 200.0, 900.0  # upper ends, HU
_AIR_OR_LUNG = (-1060.0, -600.0)  # where the gas of a true scan has its mode
_FAT, _FAT_PEAK, _WATER = (-160.0, -40.0), (-150.0, -70.0), (-20.0, 120.0)
_BIN = 20.0


@dataclass(frozen=True)
class Histogram:
    """Hold distinct values of a sample of voxels, ascending, and the share of the sample at each."""

    values: NDArray[np.float64]
    shares: NDArray[np.float64]

    def share_between(self, low: float, high: float) -> float:
        """Return the fraction of the sample in [low, high)."""
        first, last = np.searchsorted(self.values, (low, high))
        return float(self.shares[first:last].sum())

    def mode(self, low: float, high: float) -> float:
        """Return the fullest multiple of 20 from low to high."""
        centres = np.arange(low, high + 1, _BIN)
        counts, _ = np.histogram(self.values, bins=np.append(centres, high + _BIN) - _BIN / 2, weights=self.shares)
        return float(centres[int(counts.argmax())])

    @classmethod
    def of(cls, voxels: StoredArray) -> Histogram:
        """Sample about half a million voxels, evenly taken."""
        step = max(1, round((voxels.size / _SAMPLE) ** (1 / 3)))
        values, counts = _distinct(voxels[::step, ::step, ::step])
        return cls(values.astype(np.float64), counts / counts.sum())


def _distinct(sample: StoredArray) -> tuple[StoredArray, NDArray[np.int64]]:
    """Values, ascending, and how many of each there are."""
    if sample.dtype.kind not in "iu" or sample.dtype.itemsize > 2:
        return np.unique(sample, return_counts=True)
    # Counting is ten times as fast as sorting, and what nearly every scan is stored in has few values.
    lowest = int(sample.min())
    counts = np.bincount(sample.ravel().astype(np.int64) - lowest)
    (there,) = counts.nonzero()
    return there + lowest, counts[there]


def hounsfield_evidence(sample: Histogram, rescale: Rescale) -> str | None:
    """Describe what makes the rescaled sample a CT scan in Hounsfield units; None if nothing does."""
    order = slice(None) if rescale.slope > 0 else slice(None, None, -1)
    units = Histogram((sample.values * rescale.slope + rescale.intercept)[order], sample.shares[order])
    units, padding = _without_padding(units, tolerance=max(8.0, 2 * abs(rescale.slope)))
    if not units.values.size or units.share_between(-np.inf, _LOWEST) > 0.05:
        return None
    landmarks = _gas_and_tissue(units) or _fat_and_water(units)
    return landmarks and landmarks + padding


def _without_padding(units: Histogram, *, tolerance: float) -> tuple[Histogram, str]:
    """Set aside one value far below all others, as outside the field of view (-2048, -3024, -8192 …), with its interpolated fringe."""
    floor = float(units.values[np.searchsorted(units.shares.cumsum(), 0.005)])
    edge = floor + 2 * tolerance
    padding, fringe = units.share_between(-np.inf, edge), units.share_between(edge, max(floor + 200, _LOWEST))
    if padding < 0.01 or fringe > 0.2 * padding:
        return units, ""
    inside = units.values >= max(edge, _LOWEST)
    rest = units.shares[inside]
    return Histogram(units.values[inside], rest / rest.sum()), f"; {padding:.0%} padding of {floor:g} set aside"


def _gas_and_tissue(units: Histogram) -> str | None:
    """Air or lung; tissue, some of it like water, as muscle and blood are; and a valley between."""
    gas, between, tissue, dense = _shares(units)
    peak = units.mode(_LOWEST, _GAS)
    valley = between / (_BETWEEN - _GAS) < tissue / (_TISSUE - _BETWEEN)
    watery = units.share_between(*_WATER) > 0.1 * (tissue + dense)
    enough = gas > 0.03 and tissue > 0.003 and units.share_between(_DENSE, np.inf) < 0.1
    if not (enough and valley and watery and _AIR_OR_LUNG[0] < peak < _AIR_OR_LUNG[1]):
        return None
    return f"air or lung peaks at {peak:.0f} HU, tissue at {units.mode(_BETWEEN, _TISSUE):.0f} HU"


def _fat_and_water(units: Histogram) -> str | None:
    """A crop inside the body: fat and muscle in their places, some bone, calcium or contrast agent, hardly anything below fat."""
    gas, between, _, dense = _shares(units)
    fat, water = units.share_between(*_FAT), units.share_between(*_WATER)
    enough = water > 0.1 and 0.03 < fat < 1.5 * water and dense > 0.003 and units.share_between(_DENSE, np.inf) < 0.02
    peak = units.mode(*_FAT)
    clipped = units.shares[0] > 0.01  # a window's lower end, not a scale's
    if not enough or clipped or gas + between > 0.1 or not _FAT_PEAK[0] < peak < _FAT_PEAK[1]:
        return None
    return f"fat peaks at {peak:.0f} HU, muscle at {units.mode(*_WATER):.0f} HU, no air in the crop"


def _shares(units: Histogram) -> tuple[float, float, float, float]:
    edges = (_LOWEST, _GAS, _BETWEEN, _TISSUE, _DENSE)
    gas, between, tissue, dense = (units.share_between(low, high) for low, high in pairwise(edges))
    return gas, between, tissue, dense

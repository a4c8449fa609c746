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
_NEAR = 80.0  # HU; a padding is one value, air and lung are spread over more than this
_RINGING = 0.05  # of the step from padding to air: how far a cubic spline's second lobe reaches (its first lies below the padding)
_MOST_FRINGE, _MOST_RINGING = 0.25, 0.5  # of the padding itself; lung beside air is more
_FRINGE_WINDOW = 100.0  # HU
_AIR = -1000.0  # HU, by definition of the scale
_FLAT = 2.0  # HU about a value that interpolation leaves of a padding
_LEAST_SPREAD = 0.3  # of gas, beside its two fullest values: more of true air is noise


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
    tolerance = max(8.0, 2 * abs(rescale.slope))
    units, padding = _without_padding(units, tolerance=tolerance)
    if padding:
        units, more = _without_padding(units, tolerance=tolerance)
        padding += more
    if not units.values.size or units.share_between(-np.inf, _LOWEST) > 0.05:
        return None
    landmarks = _gas_and_tissue(units) or _fat_and_water(units)
    return landmarks and landmarks + padding


def _without_padding(units: Histogram, *, tolerance: float) -> tuple[Histogram, str]:
    """Set aside one or two values far below all others, as outside the field of view (-2048, -3024, -8192 …), with what interpolation
    makes of their edges: a fringe up to the scan's own values, and, if it was cubic, ringing on both sides of the padding.
    """
    floor = float(units.values[np.searchsorted(units.shares.cumsum(), 0.005)])
    spikes = _spikes(units, floor=floor, width=2 * tolerance)
    if not spikes:
        return units, ""
    padding = sum(spike.fraction for spike in spikes)
    below, around = units.share_between(-np.inf, spikes[0].low), sum(units.share_between(spike.low, spike.ringing_to) for spike in spikes)
    top = max(floor + 200, spikes[-1].low + 200, _LOWEST)
    fringe = units.share_between(-np.inf, top) - below - around
    if top - spikes[-1].ringing_to > 3 * _FRINGE_WINDOW and fringe > 0.05 * padding and _is_gathered(units, spikes[-1].ringing_to, top):
        return units, ""
    highest = spikes[-1]
    inside = units.values >= max(highest.ringing_to if highest.low < _LOWEST else highest.low + 200, _LOWEST)
    if fringe > _MOST_FRINGE * padding or below + around - padding > _MOST_RINGING * padding or not inside.any():
        return units, ""
    rest = units.shares[inside]
    names = " and ".join(f"{spike.fullest:g}" for spike in spikes)
    return Histogram(units.values[inside], rest / rest.sum()), f"; {padding:.0%} padding of {names} set aside"


def _is_gathered(units: Histogram, low: float, high: float) -> bool:
    """Tell whether most of a range lies together, as air or lung does; interpolation spreads a fringe evenly."""
    fullest = max(units.share_between(start, start + _FRINGE_WINDOW) for start in np.arange(low, high, _FRINGE_WINDOW / 2))
    return fullest > 0.5 * units.share_between(low, high)


@dataclass(frozen=True)
class _Spike:
    """Hold a narrow window that stands out: its lowest and its fullest value, its share of the sample, and where its ringing ends."""

    low: float
    fullest: float
    fraction: float
    ringing_to: float


def _spikes(units: Histogram, *, floor: float, width: float) -> list[_Spike]:
    """List windows that hold a hundredth of the sample each and most of what is near: at most two, ascending, that begin at the floor of
    the sample or below all that CT has; else one of a single value a little above the floor, where ringing undershoots.
    """
    low = max(floor, _LOWEST)
    first = _spike(units, highest=low, width=width) or _spike(units, highest=low + 200, width=width, narrow=True)
    if first is None:
        return []
    others = (units.values < first.low - 2 * width) | (units.values >= first.low + 3 * width)
    second = _spike(Histogram(units.values[others], units.shares[others]), highest=_LOWEST, width=width)
    if second is None or second.fraction < 0.15 * first.fraction:  # so few that it counts as ringing or fringe
        return [first]
    return sorted((first, second), key=lambda spike: spike.low)


def _spike(units: Histogram, *, highest: float, width: float, narrow: bool = False) -> _Spike | None:
    """Find the fullest window that begins at `highest` or below, if it stands out, or its fullest value alone does (`narrow`)."""
    starts = units.values[units.values <= highest]
    sums = np.append(0.0, units.shares.cumsum())
    windows = sums[np.searchsorted(units.values, starts + width)] - sums[: starts.size]
    if not windows.size or windows.max() < 0.01:
        return None
    first = int(windows.argmax())
    low, fraction = float(starts[first]), float(windows[first])
    last = int(np.searchsorted(units.values, low + width))
    fullest = float(units.values[first + int(units.shares[first:last].argmax())])
    peak = units.share_between(fullest - width / 10, fullest + width / 10) if narrow else fraction
    if peak < 0.5 * units.share_between(low - _NEAR, low + width + _NEAR):
        return None
    return _Spike(low, fullest, fraction, low + width + _RINGING * max(0.0, _AIR - low))


def _gas_and_tissue(units: Histogram) -> str | None:
    """Air or lung; tissue, some of it like water, as muscle and blood are; and a valley between."""
    gas, between, tissue, dense = _shares(units)
    peak = units.mode(_LOWEST, _GAS)
    valley = between / (_BETWEEN - _GAS) < tissue / (_TISSUE - _BETWEEN)
    watery = units.share_between(*_WATER) > 0.1 * (tissue + dense)
    enough = gas > 0.03 and tissue > 0.003 and units.share_between(_DENSE, np.inf) < 0.1
    if not (enough and valley and watery and _AIR_OR_LUNG[0] < peak < _AIR_OR_LUNG[1]) or _is_padding(units):
        return None
    return f"air or lung peaks at {peak:.0f} HU, tissue at {units.mode(_BETWEEN, _TISSUE):.0f} HU"


def _is_padding(units: Histogram) -> bool:
    """Tell whether what lies where gas should is one or two values, while tissue is spread by noise: paddings of another scale."""
    gas, tissue = (_beside_fullest(units, low, high) for low, high in ((_LOWEST, _GAS), (_BETWEEN, _TISSUE)))
    return gas < _LEAST_SPREAD and tissue > 0.5


def _beside_fullest(units: Histogram, low: float, high: float) -> float:
    """Return the fraction of a range that is not within 2 HU of its two fullest values."""
    first, last = np.searchsorted(units.values, (low, high))
    values, shares = units.values[first:last], units.shares[first:last].copy()
    whole = shares.sum()
    for _ in range(2):
        if shares.size:
            shares[np.abs(values - values[shares.argmax()]) <= _FLAT] = 0
    return float(shares.sum() / whole) if whole else 0.0


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

"""Apply RescaleSlope and RescaleIntercept by slice, and refuse slices whose rescale an export lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from thoracle.ct.dicom.frames import Slice
from thoracle.ct.dicom.pixels import PixelStack
from thoracle.ct.stored import Rescale
from thoracle.errors import HounsfieldUnknown, RescaleMissing
from thoracle.types import StoredArray

Scales = tuple[tuple[float, float], ...]
_FIELD: Final = "RescaleSlope/RescaleIntercept"
_STATE: Final = "If the stored numbers are Hounsfield units, say so (--hu stored)."
_EXPORT: Final = "Export the series again; if slope and intercept are right as they stand, say so (--hu rescale)."
_UNITS: Final = ("HU", "US", "")  # RescaleType: Hounsfield units, unspecified, absent
_CODE_LENGTH: Final = 16  # of RescaleType (PS3.5, 6.2)
_USUAL: Final = 0.25  # of the slices have a pair that any other may have lost
_ALIKE_HU: Final = 200.0  # neighbouring slices differ by less on the mean, ten millimetres apart too
_BETTER: Final = 2.0  # times nearer to its neighbour is a slice read with the neighbour's rescale, if it lost its own
_LEAST_HU: Final = 50.0  # and by so much, on the mean
_AIR_HU, _DENSE_HU = -1200.0, 900.0  # what no slice has much of below and above
_SAMPLE: Final = 4_000  # voxels of a slice, enough for a mean


def rescales_of(slices: Sequence[Slice], *, hu: str, source: str) -> Scales | None:
    """Return slope and intercept of each slice; None where there are none and none are needed.

    Raises:
        RescaleMissing: slices without, and nobody said that they need none.
        HounsfieldUnknown: a slope of 0, or a RescaleType that is not Hounsfield units.
    """
    scales = tuple(s.rescale for s in slices if s.rescale is not None)
    if len(scales) < len(slices):
        if hu == "stored":
            return None
        raise RescaleMissing(
            f"RescaleSlope or RescaleIntercept is absent in {len(slices) - len(scales)} of {len(slices)} slices",
            hint=_STATE,
            source=source,
        )
    if any(slope == 0 for slope, _ in scales) and hu != "stored":
        raise HounsfieldUnknown("RescaleSlope is 0", hint=_STATE, source=source)
    other = Counter(s.rescale_type[:_CODE_LENGTH] for s in slices if s.rescale_type.upper() not in _UNITS)
    if other and hu == "auto":
        names = ", ".join(sorted(other))
        raise HounsfieldUnknown(
            f"RescaleType of {other.total()} of {len(slices)} slices is {names}, not HU",
            hint="Give the series in Hounsfield units; if it is, say so (--hu rescale, or --hu stored).",
            source=source,
        )
    return None if hu == "stored" and len(set(scales)) > 1 else scales


def apply_rescales(pixels: PixelStack, scales: Scales | None, *, hu: str, source: str) -> tuple[StoredArray, Rescale | None]:
    """Scale slice by slice where pairs vary; one pair for all slices is left to be judged with the voxels.

    Raises:
        HounsfieldUnknown: some slices lie one intercept, or one slope, off their neighbours.
    """
    stored = pixels.voxels
    if scales is None:
        return stored, None
    if hu == "auto":
        _require_continuous(pixels, scales, source)
    if len(set(scales)) == 1:
        return stored, Rescale(slope=scales[0][0], intercept=scales[0][1], source=_FIELD)
    integral = all(number == int(number) for scale in scales for number in scale) and np.issubdtype(stored.dtype, np.integer)
    scaled = np.empty(stored.shape, np.float32)
    for k, (slope, intercept) in enumerate(scales):
        scaled[k] = stored[k] * np.float64(slope) + intercept
    if integral and abs(float(scaled.min())) < 2**15 and abs(float(scaled.max())) < 2**15:
        scaled = scaled.astype(np.int16)
    return scaled, Rescale(slope=1.0, intercept=0.0, source=f"{_FIELD} of each slice")


def _require_continuous(pixels: PixelStack, scales: Scales, source: str) -> None:
    """Compare voxels with those of the slice below; steps up and down part the slices that lost their rescale from the rest."""
    level, levels = 0, [0]
    for k in range(1, len(scales)):
        level += _jump(pixels, scales, k)
        levels.append(level)
    usual = Counter(levels).most_common(1)[0][0]
    lost = [k for k, at in enumerate(levels) if at != usual]
    if lost:
        raise HounsfieldUnknown(
            f"Hounsfield units of slice {_ranges(lost)} of {len(levels)} lie one rescale off those of the others: an export lost or "
            f"repeated RescaleSlope or RescaleIntercept",
            hint=_EXPORT,
            source=source,
        )


def _jump(pixels: PixelStack, scales: Scales, k: int) -> int:
    """1 or -1 where slice k lies a rescale above or below slice k - 1, else 0."""
    below, here = _sampled(pixels, k - 1), _sampled(pixels, k)
    if pixels.padding is not None:
        inside = ~(_strided(pixels.padding[k - 1]) | _strided(pixels.padding[k]))
        below, here = below[inside], here[inside]
    if not below.size:
        return 0
    (slope_below, intercept_below), (slope, intercept) = scales[k - 1], scales[k]
    units_below, units = below * slope_below + intercept_below, here * slope + intercept
    direction = 1 if units.mean() > units_below.mean() else -1
    if len(set(scales)) > 1:
        usual = [pair for pair, number in Counter(scales).items() if number >= len(scales) * _USUAL]
        pairs = [(here * a + b, units_below) for a, b in (*usual, scales[k - 1], (slope, intercept_below), (slope_below, intercept))]
        pairs += [(units, below * a + b) for a, b in (*usual, scales[k], (slope_below, intercept), (slope, intercept_below))]
    elif _is_beyond_ct(units) or _is_beyond_ct(units_below):
        pairs = [(units - direction * abs(intercept), units_below)]
    else:
        return 0
    apart, nearest = _distance(units, units_below), min(_distance(*pair) for pair in pairs)
    return direction if nearest < min(_ALIKE_HU, apart / _BETTER, apart - _LEAST_HU) else 0


def _is_beyond_ct(units: NDArray[np.float64]) -> bool:
    return bool((units > _DENSE_HU).mean() > 0.1 or (units < _AIR_HU).mean() > 0.3)


def _distance(units: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    return float(np.abs(units - others).mean())


def _sampled(pixels: PixelStack, k: int) -> NDArray[np.float64]:
    return _strided(pixels.voxels[k]).astype(np.float64)


def _strided(part: NDArray[Any]) -> NDArray[Any]:
    step = max(1, round((part.size / _SAMPLE) ** 0.5))
    return part[::step, ::step]


def _ranges(indices: Sequence[int]) -> str:
    """Write 0-based indices as 1-based ranges: "8", "3 to 5, 9"."""
    starts = [i for i in indices if i - 1 not in indices]
    ends = [i for i in indices if i + 1 not in indices]
    return ", ".join(f"{a + 1}" if a == b else f"{a + 1} to {b + 1}" for a, b in zip(starts, ends, strict=True))

"""Estimate how far lungs go on behind and below what is filled with air, where both their bases are opaque.

Where one base is open, the bottom of the lungs is seen. Where tissue lies between both lungs and the ribs behind them, ribs show how far
back the chest goes; whether that tissue is lung, or fluid, which is none, is told by its density alone.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from thoracle.ct.chest.lungs import Mask

_BONE_HU: Final = 150.0
_RIB_PITCH_MM: Final = 36.0  # of height: holds a rib wherever it begins
_BESIDE_SPINE: Final = (0.12, 0.32)  # of the lungs' width, from their middle
_BASES: Final = (0.2, 0.45)  # of the lungs' height: behind the domes, below the hila
_OPAQUE_MM: Final = 10.0  # from lung to ribs; healthy lung comes within a cell or two of them
_TISSUE_HU: Final = (-60.0, 120.0)
_COLLAPSED_HU: Final = 25.0  # at least; fluid has 0 to 20
_FURTHER_MM: Final = 9.0  # a middle course: lung that is hidden reaches 0 to 20 mm beyond lung that is seen
_FLUID_MM: Final = 4.0  # the same where it may be fluid


def hidden_mm(cells: NDArray[np.float32], lungs: Mask, ends: list[tuple[int, int]], cell: tuple[float, ...]) -> tuple[float, float]:
    """Estimate how far beyond air-filled lung the back and the bottom of all lung lie, mm; 0 where nothing is hidden.

    Args:
        cells, cell: as `coarse_cells` gives them.
        lungs: air-filled lung among them.
        ends: the first and one past the last cell of it along each axis.
    """
    (right, left), (front, back), (bottom, top) = ends
    low, high = (bottom + int(share * (top - bottom)) for share in _BASES)
    middle = (front + back) // 2
    ribs = _ribs(cells[right:left, middle:, bottom:top], cell)
    lower = ribs[:, : (top - bottom) // 2]
    if np.isinf(lower).all():
        return 0.0, 0.0
    behind = (middle + float(np.percentile(lower[np.isfinite(lower)], 95)) - back) * cell[1]
    depths = np.arange(cells.shape[1] - middle)[None, :, None]
    opaque, densities = [], []
    for inner, outer in (_BESIDE_SPINE, (-_BESIDE_SPINE[1], -_BESIDE_SPINE[0])):
        first, last = sorted(right + int((0.5 + share) * (left - right)) for share in (inner, outer))
        part = (slice(first, last), slice(middle, None), slice(low, high))
        wall = ribs[first - right : last - right, low - bottom : high - bottom]
        deepest = np.where(lungs[part], depths, -1).max(axis=1)
        gaps = (wall - deepest - 1)[(deepest >= 0) & np.isfinite(wall)] * cell[1]
        between = (depths > deepest[:, None] + 1) & (depths < wall[:, None] - 1) & (deepest >= 0)[:, None] & np.isfinite(wall)[:, None]
        tissue = cells[part][between]
        tissue = tissue[(tissue > _TISSUE_HU[0]) & (tissue < _TISSUE_HU[1])]
        opaque.append(gaps.size > 0 and float(np.median(gaps)) >= _OPAQUE_MM)
        densities.append(float(np.median(tissue)) if tissue.size else -1000.0)
    collapsed = all(opaque) and max(densities) >= _COLLAPSED_HU
    return min(max(behind, 0.0), _FURTHER_MM if collapsed else _FLUID_MM), _FURTHER_MM if collapsed else 0.0


def _ribs(behind: NDArray[np.float32], cell: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the row (x, z) at which ribs' inner face is met going back, that of the ribs above and below between them; else infinity."""
    bone = behind > _BONE_HU
    rows = np.where(bone.any(axis=1), bone.argmax(axis=1), np.inf)
    return np.asarray(ndimage.minimum_filter1d(rows, max(1, round(_RIB_PITCH_MM / cell[2])), axis=1))

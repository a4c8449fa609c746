"""Tell contrast agent by its blood: heart and great vessels against muscle."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: Of the lungs' depth, width and height, where there is no spine, rib or stomach.
_FRONT, _CENTRAL, _UPPER = 0.5, (0.25, 0.75), 0.25
_ENHANCED_ABOVE = 45.0  # HU above muscle: blood without contrast agent is below muscle, marrow and calcium lie elsewhere or are smaller
_MAJORITY: Final = 14  # of a cell and its 26 neighbours
_ENHANCED_ML = 25.0  # a heart's chambers and the great vessels have several hundred

_Mask = NDArray[np.bool_]


def enhanced_blood_ml(cells: NDArray[np.float32], lung: _Mask, cell: tuple[float, ...]) -> float | None:
    """Measure the largest volume between the lungs, where heart and great vessels are, that is brighter than blood without contrast agent.

    Args:
        cells: (x, y, z) mean HU of cells of about 4.5 mm.
        lung: which of them are lung.
        cell: size of a cell, mm.

    Returns:
        Millilitres; None where no lungs lie on both sides, or no muscle is there to compare with.
    """
    between = np.logical_or.accumulate(lung, axis=0) & np.logical_or.accumulate(lung[::-1], axis=0)[::-1]
    region = _between_lungs(lung, between)
    if not region.any():
        return None
    box = tuple(
        slice(max(0, int(at[0]) - 1), int(at[-1]) + 2)
        for at in (np.flatnonzero(region.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    )
    muscle = _muscle(cells[..., box[2]], between[..., box[2]])
    if muscle is None:
        return None
    # The median leaves out wires, clips and calcium, which a mean would spread.
    bright = median_above(cells[box], muscle + _ENHANCED_ABOVE) & region[box]
    parts, count = ndimage.label(bright)
    return float(np.bincount(parts.ravel())[1:].max() * np.prod(cell) / 1e3) if count else 0.0


def is_enhanced(cells: NDArray[np.float32], lung: _Mask, cell: tuple[float, ...]) -> bool | None:
    """Tell whether there is more of it than marrow and calcium come to; arguments and None are those of `enhanced_blood_ml`."""
    volume = enhanced_blood_ml(cells, lung, cell)
    return None if volume is None else volume > _ENHANCED_ML


def median_above(cells: NDArray[np.float32], threshold: float) -> _Mask:
    """Tell whether the median of a cell and its 26 neighbours lies above a threshold: 14 of them do, which is counted sooner than sorted.

    Beyond the array its outermost cells are mirrored, as `scipy.ndimage.median_filter` has it.
    """
    counts = np.pad(cells > threshold, 1, mode="symmetric").astype(np.uint8)
    for axis in range(3):
        lines = np.moveaxis(counts, axis, 0)
        counts = np.moveaxis(lines[:-2] + lines[1:-1] + lines[2:], 0, axis)
    return counts >= _MAJORITY


def _between_lungs(lung: _Mask, between: _Mask) -> _Mask:
    """Cells with lung to the right and to the left, in the front half, the middle and the upper three quarters of the lungs."""
    region = between & ~lung
    columns, slices = np.flatnonzero(lung.any(axis=(1, 2))), np.flatnonzero(lung.any(axis=(0, 1)))
    if not columns.size:
        return region
    first, width = int(columns[0]), int(columns[-1]) + 1 - int(columns[0])
    region[: first + int(_CENTRAL[0] * width)] = False
    region[first + int(_CENTRAL[1] * width) + 1 :] = False
    region[..., : int(slices[0]) + int(_UPPER * (slices[-1] + 1 - slices[0]))] = False
    for index in slices:
        rows = np.flatnonzero(lung[..., index].any(axis=0))
        region[:, int(rows[0]) + int(_FRONT * (rows[-1] + 1 - rows[0])) :, index] = False
    return region


def _muscle(cells: NDArray[np.float32], between: _Mask) -> float | None:
    """Mode of what is denser than water outside the lungs' rows: muscle of chest wall, back and shoulders."""
    wall = cells[~between & (cells > 0) & (cells < 100)]
    if wall.size < 200:
        return None
    counts, edges = np.histogram(wall, bins=np.arange(0, 101, 5))
    return float(edges[np.convolve(counts, np.ones(3), mode="same").argmax()] + 2.5)

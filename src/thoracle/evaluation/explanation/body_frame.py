"""Map grids over a model's input into the frame of a chest's box and back, by the volume that cells share.

Shapes: Z X Y cells of a grid over the input; F F F cells of the frame, in the same order of axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from thoracle.ct.chest.input_box import InputBox
from thoracle.types import FloatArray

#: Cells of the frame along each axis: of lungs, about 10 mm.
CELLS: Final = 48
#: Of the box's extent, on each side of it: what belongs to no lung lies beside it.
_MARGIN: Final = 0.5


def to_frames(mask_ZXY: NDArray[Any], bits: Sequence[int], box: InputBox) -> FloatArray:
    """Compute (len(bits), F, F, F): how much of each cell of the frame each of these bits of a mask takes; what lies outside the input
    takes nothing.
    """
    used = [np.flatnonzero(mask_ZXY.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not used[0].size or not len(bits):
        return np.zeros((len(bits), CELLS, CELLS, CELLS))
    inside = [slice(indices[0], indices[-1] + 1) for indices in used]
    shares = [_fractions(edges, _edges(n))[:, part] for edges, n, part in zip(_frame(box), mask_ZXY.shape, inside, strict=True)]
    masked = mask_ZXY[tuple(inside)]
    return np.stack([_product(shares, masked >> bit & 1) for bit in bits])


def coverage(box: InputBox) -> FloatArray:
    """Compute (F, F, F): how much of each cell of the frame lies in the input."""
    z, x, y = (_fractions(edges, _edges(1))[:, 0] for edges in _frame(box))
    covered: FloatArray = z[:, None, None] * x[:, None] * y
    return covered


def from_frame(frame_FFF: FloatArray, box: InputBox, grid: tuple[int, int, int]) -> FloatArray:
    """Compute a grid over the input, each cell the mean of the frame within it; beyond the frame it is 0."""
    return _product([_fractions(_edges(n), edges) for n, edges in zip(grid, _frame(box), strict=True)], frame_FFF)


def _frame(box: InputBox) -> list[FloatArray]:
    """List the edges of the frame's cells along each axis, in fractions of the input."""
    relative = np.linspace(-_MARGIN, 1 + _MARGIN, CELLS + 1)
    return [low + relative * (high - low) for low, high in zip(box.low, box.high, strict=True)]


def _edges(cells: int) -> FloatArray:
    return np.linspace(0.0, 1.0, cells + 1)


def _fractions(target: FloatArray, source: FloatArray) -> FloatArray:
    """Compute, for each cell between target edges, the fraction of it that each cell between source edges takes."""
    shared = np.minimum(target[1:, None], source[1:]) - np.maximum(target[:-1, None], source[:-1])
    fractions: FloatArray = np.maximum(shared, 0) / np.diff(target)[:, None]
    return fractions


def _product(weights: Sequence[FloatArray], values: NDArray[Any]) -> FloatArray:
    for weight in weights:  # each turns the first axis into its own and puts it last
        values = np.tensordot(values, weight, axes=(0, 1))
    return values

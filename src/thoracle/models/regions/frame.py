"""Resample between an encoder's grid over its input and the frame of the chest, in which a place is the same one in every patient.

The frame is a grid over the lungs' box and a margin around it. Both grids lie along the same axes, so that a matrix an axis does it.

Shapes: B scans, (T, h, w) cells of a grid over the input along (z, x, y), F = (z, x, y) places of the frame, D numbers of a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thoracle.ct.chest.input_box import InputBox
from thoracle.types import FloatArray

Grid = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameResampling:
    """Hold the matrices of B scans, one an axis.

    Attributes:
        inward: (B, places, cells) each, whose rows sum to 1.
        outward: (B, cells, places) each, whose rows sum to 1 within the frame and to 0 outside.
    """

    inward: tuple[Tensor, Tensor, Tensor]
    outward: tuple[Tensor, Tensor, Tensor]

    def to_frame(self, cells_BTHWD: Tensor) -> Tensor:
        """Interpolate linearly at the frame's places: (B, z, x, y, D). Beyond the input its outermost cells go on."""
        return _resample(self.inward, cells_BTHWD)

    def to_grid(self, places_BFD: Tensor) -> Tensor:
        """Interpolate linearly at the grid's cells: (B, T, h, w, D), 0 outside the frame."""
        return _resample(self.outward, places_BFD)

    def covered(self) -> Tensor:
        """Tell which cells lie within the frame: (B, T, h, w), 0 or 1."""
        z, x, y = (matrix.sum(dim=-1).round() for matrix in self.outward)
        return z[:, :, None, None] * x[:, None, :, None] * y[:, None, None, :]


def frame_resampling(boxes: Sequence[InputBox], *, grid: Grid, frame: Grid, margin: float, device: torch.device) -> FrameResampling:
    """Make the matrices of scans.

    Args:
        boxes: where the lungs are in each.
        grid: cells over the input.
        frame: places over the box and its margin.
        margin: on each side, of the box's extent.
        device: of the matrices.
    """
    inward, outward = [], []
    for axis, (cells, size) in enumerate(zip(grid, frame, strict=True)):
        low, high = (np.array([box.low[axis] for box in boxes]), np.array([box.high[axis] for box in boxes]))
        start, extent = low - margin * (high - low), (1 + 2 * margin) * (high - low)
        at_places = start[:, None] + (np.arange(size) + 0.5) / size * extent[:, None]
        at_cells = ((np.arange(cells) + 0.5) / cells - start[:, None]) / extent[:, None]
        inside = (at_cells >= 0) & (at_cells <= 1)
        inward.append(_hats(at_places, cells))
        outward.append(_hats(at_cells, size) * inside[..., None])
    z, x, y = (torch.from_numpy(matrix).float().to(device) for matrix in inward)
    to_z, to_x, to_y = (torch.from_numpy(matrix).float().to(device) for matrix in outward)
    return FrameResampling(inward=(z, x, y), outward=(to_z, to_x, to_y))


def _hats(at: FloatArray, cells: int) -> FloatArray:
    """(…, cells) weights of linear interpolation between the middles of cells at fractions `at`; the outer halves are flat."""
    index = np.clip(at * cells - 0.5, 0, cells - 1)[..., None]
    weights: FloatArray = np.maximum(1 - np.abs(index - np.arange(cells)), 0)
    return weights


def _resample(matrices: tuple[Tensor, Tensor, Tensor], values_BZXYD: Tensor) -> Tensor:
    z, x, y = matrices
    values = torch.einsum("bpz,bzxyd->bpxyd", z, values_BZXYD)
    values = torch.einsum("bqx,bpxyd->bpqyd", x, values)
    return torch.einsum("bry,bpqyd->bpqrd", y, values)

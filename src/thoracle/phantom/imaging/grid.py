"""Define voxel grids in the chest: coordinates, boxes, soft edges and slow random fields.

A grid belongs to a scan: its axes are the scanner's (LPS, millimetres). The chest is described in canonical coordinates; a scale, a roll
about its long axis and a pitch about the scanner's x lead from one to the other. Coordinates have as few numbers as that allows, so that
formulas over z alone cost little: in a pitched chest x and y are (nx, ny, nz) and z is (1, ny, nz), in a level one (nx, ny, 1) and
(1, 1, nz).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Real numbers; float32 wherever there are as many as voxels.
Floats = NDArray[np.floating[Any]]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, kw_only=True, eq=False)
class VoxelGrid:
    """Hold voxels of one scan, or of a slab of it.

    Attributes:
        shape: voxels along x, y, z.
        spacing: mm a voxel.
        origin: of voxel (0, 0, 0), mm from the canonical origin (midline, middle of the chest, carina), in the scanner's axes.
        scale, roll, pitch: of the patient; pitch lifts the upper chest from the table.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    scale: tuple[float, float, float]
    roll: float
    pitch: float = 0.0

    @cached_property
    def axes(self) -> tuple[Floats, Floats, Floats]:
        """Return scanner coordinates along each axis, mm."""
        return tuple(  # type: ignore[return-value]
            (o + s * np.arange(n)).astype(np.float32) for o, s, n in zip(self.origin, self.spacing, self.shape, strict=True)
        )

    @cached_property
    def coordinates(self) -> tuple[Floats, Floats, Floats]:
        """Return canonical x, y and z, which broadcast to the grid's shape."""
        u, v, w = self.axes[0][:, None, None], self.axes[1][None, :, None], self.axes[2][None, None, :]
        if self.pitch:
            cos, sin = np.float32(np.cos(self.pitch)), np.float32(np.sin(self.pitch))
            v, w = v * cos + w * sin, w * cos - v * sin
        cos, sin = np.float32(np.cos(self.roll)), np.float32(np.sin(self.roll))
        x = (u * cos + v * sin) / np.float32(self.scale[0])
        y = (v * cos - u * sin) / np.float32(self.scale[1])
        return x, y, w / np.float32(self.scale[2])

    def at(self, voxels: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        """Return canonical x, y and z of voxels given by their places in the flattened grid."""
        places = np.unravel_index(voxels, self.shape)
        return tuple(np.broadcast_to(axis, self.shape)[places] for axis in self.coordinates)  # type: ignore[return-value]

    @cached_property
    def crossed(self) -> NDArray[np.bool_]:
        """Return which columns (nx, ny) rays cross: a round field, without the corners."""
        away = [np.abs(np.arange(n) - (n - 1) / 2) * s for n, s in zip(self.shape[:2], self.spacing[:2], strict=True)]
        return np.asarray(np.hypot(away[0][:, None], away[1][None, :]) <= (self.shape[0] / 2 + 0.5) * self.spacing[0])

    def holds(self, points: Floats) -> NDArray[np.bool_]:
        """Return which canonical points (n, 3) lie in the picture: where rays cross, between the first and the last slice."""
        nearest = np.rint(self.indices(points)).astype(int)
        inside = np.all((nearest >= 0) & (nearest < np.array(self.shape)), axis=1)
        i, j, _ = (nearest * inside[:, None]).T
        return np.asarray(inside & self.crossed[i, j])

    @cached_property
    def edge(self) -> float:
        """Return the width of a voxel in canonical mm: the width of an edge with partial volume."""
        return sum(s / c for s, c in zip(self.spacing, self.scale, strict=True)) / 3

    @cached_property
    def voxel(self) -> float:
        """Return the volume of a voxel in canonical cubic mm."""
        return math.prod(self.spacing) / math.prod(self.scale)

    def indices(self, points: Floats) -> Floats:
        """Return the fractional voxel indices (n, 3) of canonical points (n, 3)."""
        x, y = points[:, 0] * self.scale[0], points[:, 1] * self.scale[1]
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        x, y, z = x * cos - y * sin, x * sin + y * cos, points[:, 2] * self.scale[2]
        cos, sin = np.cos(self.pitch), np.sin(self.pitch)
        scanner = (x, y * cos - z * sin, z * cos + y * sin)
        return np.stack([(c - o) / s for c, o, s in zip(scanner, self.origin, self.spacing, strict=True)], axis=1).astype(np.float32)

    def box(self, low: tuple[float, float, float], high: tuple[float, float, float]) -> Box:
        """Return the voxels that may lie between two canonical corners; empty where there are none."""
        corners = np.array([[(low, high)[i][0], (low, high)[j][1], (low, high)[k][2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        corner_indices = self.indices(corners.astype(np.float32))
        starts = np.clip(np.floor(corner_indices.min(0)) - 1, 0, self.shape).astype(int)
        stops = np.clip(np.ceil(corner_indices.max(0)) + 2, 0, self.shape).astype(int)
        return tuple(slice(int(a), int(max(a, b))) for a, b in zip(starts, stops, strict=True))  # type: ignore[return-value]

    def within(self, box: Box) -> VoxelGrid:
        """Return the part of the grid in a box."""
        origin = tuple(o + s * b.start for o, s, b in zip(self.origin, self.spacing, box, strict=True))
        shape = tuple(b.stop - b.start for b in box)
        return VoxelGrid(shape=shape, spacing=self.spacing, origin=origin, scale=self.scale, roll=self.roll, pitch=self.pitch)

    def slabs(self, voxels: int) -> list[Box]:
        """Return boxes of whole slices with at most about so many voxels, in order."""
        depth = max(1, voxels // (self.shape[0] * self.shape[1]))
        return [
            (slice(0, self.shape[0]), slice(0, self.shape[1]), slice(k, min(k + depth, self.shape[2])))
            for k in range(0, self.shape[2], depth)
        ]


def soft(distance: Floats, width: float) -> Floats:
    """Compute the fraction of a voxel inside a surface, from the signed distance of its centre (negative inside)."""
    fraction = distance * np.float32(-1 / width)
    fraction += np.float32(0.5)
    return np.clip(fraction, 0, 1, out=fraction)


def smoothstep(t: Floats) -> Floats:
    """Interpolate smoothly from 0 below 0 to 1 above 1."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True, kw_only=True, eq=False)
class Field:
    """Sample a slow random field over the chest: mean 0, standard deviation about 1, fixed in millimetres whatever the grid.

    Attributes:
        values: (mx, my, mz) at nodes `pitch` mm apart from `_CORNER` on.
        pitch: mm.
    """

    values: Floats
    pitch: float

    @classmethod
    def sample(cls, rng: np.random.Generator, pitch: float) -> Field:
        """Sample independent nodes; linear between them."""
        nodes = tuple(int(2 * half / pitch) + 3 for half in _HALF)
        return cls(values=rng.standard_normal(nodes, dtype=np.float32) * np.float32(1.5), pitch=pitch)

    def on(self, grid: VoxelGrid) -> Floats:
        """Evaluate the field at a grid's voxels, (nx, ny, nz)."""
        a, b, c = (_hat(axis, half, self.pitch, n) for axis, half, n in zip(grid.axes, _HALF, self.values.shape, strict=True))
        nx, ny, nz = grid.shape
        part = (a @ self.values.reshape(a.shape[1], -1)).reshape(nx, *self.values.shape[1:])
        part = np.matmul(b, part)  # (ny, my) @ (nx, my, mz)
        return np.asarray(np.matmul(part.reshape(nx * ny, -1), c.T).reshape(nx, ny, nz))


_HALF = (220.0, 200.0, 180.0)


def _hat(axis: Floats, half: float, pitch: float, nodes: int) -> Floats:
    """(len(axis), nodes) weights of linear interpolation; beyond the outermost nodes the field is mirrored."""
    last = nodes - 1.001
    at = last - np.abs((axis + half) / pitch % (2 * last) - last)
    return np.asarray(np.clip(1 - np.abs(at[:, None] - np.arange(nodes)[None, :]), 0, 1).astype(np.float32))

"""Vessels, airways, wires: tapered tubes, and how much of each voxel they fill, thinner than a voxel or not.

Tubes are filled with points, each of which carries its share of the volume to the eight voxels around it. A vessel of a third of a voxel
so gets the contrast that partial volume gives it in a scanner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thoracle.phantom.imaging.grid import Box, Floats, VoxelGrid

#: A box of no voxels.
NOWHERE: Box = (slice(0, 0), slice(0, 0), slice(0, 0))
_GOLDEN = np.pi * (3 - 5**0.5)


@dataclass(frozen=True, kw_only=True, eq=False)
class Tubes:
    """Hold straight tapered pieces. `start`, `end`: (n, 3) canonical mm; `first`, `last`: (n,) radii at either end."""

    start: Floats
    end: Floats
    first: Floats
    last: Floats

    def __len__(self) -> int:
        return len(self.start)

    def chosen(self, which: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Tubes:
        """Return some of the pieces."""
        return Tubes(start=self.start[which], end=self.end[which], first=self.first[which], last=self.last[which])

    def resized(self, factor: float, *, plus: float = 0.0) -> Tubes:
        """Return the tubes with other radii."""
        return Tubes(
            start=self.start, end=self.end, first=self.first * np.float32(factor) + plus, last=self.last * np.float32(factor) + plus
        )


def path(points: Sequence[tuple[float, ...]]) -> Tubes:
    """Join pieces through (x, y, z, radius) stations."""
    stations = np.array(points, dtype=np.float32)
    return Tubes(start=stations[:-1, :3], end=stations[1:, :3], first=stations[:-1, 3], last=stations[1:, 3])


def joined(*parts: Tubes) -> Tubes:
    """Join the pieces of several tubes."""
    return Tubes(
        start=np.concatenate([p.start for p in parts]),
        end=np.concatenate([p.end for p in parts]),
        first=np.concatenate([p.first for p in parts]),
        last=np.concatenate([p.last for p in parts]),
    )


def filled(grid: VoxelGrid, tubes: Tubes) -> tuple[Box, Floats]:
    """Compute the box of voxels that tubes reach, and the fraction of each inside them, 0 to 1."""
    heights = grid.coordinates[2]
    low, high = heights.min() - grid.edge, heights.max() + grid.edge
    above = np.maximum(tubes.start[:, 2], tubes.end[:, 2]) > low - tubes.first
    near = tubes.chosen(above & (np.minimum(tubes.start[:, 2], tubes.end[:, 2]) < high + tubes.first))
    if not len(near):
        return NOWHERE, np.zeros((0, 0, 0), dtype=np.float32)
    return deposit(grid, *_fill_with_points(near, 0.75 * grid.edge))


def deposit(grid: VoxelGrid, points: Floats, volumes: Floats) -> tuple[Box, Floats]:
    """Compute the box and the fraction of its voxels taken by points (n, 3) that carry volumes (n,), canonical cubic mm."""
    at = np.ascontiguousarray(grid.indices(points).T)  # columns apart: three long rows are reduced faster than many short ones
    base = np.floor(at).astype(np.int32)
    inside = ((base >= 0) & (base < np.array(grid.shape)[:, None] - 1)).all(axis=0)
    if not inside.any():
        return NOWHERE, np.zeros((0, 0, 0), dtype=np.float32)
    at, base = at[:, inside], base[:, inside]
    low = base.min(axis=1)
    shape = tuple(int(n) for n in base.max(axis=1) - low + 2)
    x, y, z = at - base
    i, j, k = base - low[:, None]
    steps = shape[1] * shape[2], shape[2]
    first = (i.astype(np.int64) * shape[1] + j) * shape[2] + k
    weights = volumes[inside] / np.float32(grid.voxel)
    near, far = weights * (1 - x), weights * x
    shares = [side * across for side in (near, far) for across in (1 - y, y)]
    corners = [first, first + steps[1], first + steps[0], first + (steps[0] + steps[1])]
    total = np.bincount(
        np.concatenate([corner + up for corner in corners for up in (0, 1)]),
        weights=np.concatenate([weight * up for weight in shares for up in (1 - z, z)]),
        minlength=shape[0] * shape[1] * shape[2],
    )
    box = tuple(slice(int(a), int(a + n)) for a, n in zip(low, shape, strict=True))
    return box, np.minimum(total, 1).astype(np.float32).reshape(shape)  # type: ignore[return-value]


def _fill_with_points(tubes: Tubes, step: float) -> tuple[Floats, Floats]:
    """Points on sunflower discs along each piece, and the volume each stands for."""
    axis = tubes.end - tubes.start
    length = np.linalg.norm(axis, axis=1) + 1e-6
    radius = (tubes.first + tubes.last) / 2
    discs = np.maximum(1, np.ceil(length / step)).astype(int)
    spokes = np.maximum(1, np.ceil(np.pi * radius**2 / step**2)).astype(int)
    count = discs * spokes
    tube = np.repeat(np.arange(len(count)), count)
    rank = np.arange(len(tube)) - np.repeat(np.cumsum(count) - count, count)
    disc, spoke = rank // spokes[tube], rank % spokes[tube]
    t = ((disc + 0.5) / discs[tube]).astype(np.float32)
    local = (tubes.first[tube] * (1 - t) + tubes.last[tube] * t).astype(np.float32)
    rho = local * np.sqrt((spoke + 0.5) / spokes[tube]).astype(np.float32)
    turn = (spoke * _GOLDEN + disc).astype(np.float32)
    u, v = _frame(axis / length[:, None])
    points = tubes.start[tube] + axis[tube] * t[:, None]
    points += u[tube] * (rho * np.cos(turn))[:, None] + v[tube] * (rho * np.sin(turn))[:, None]
    # Points of a thick tube lie too far apart to fill every voxel evenly: a surplus, cut off at 1, leaves no gaps.
    surplus = 1.04 + 0.2 * np.clip(local / (2 * step) - 0.4, 0, 1)
    volumes = (surplus * np.pi * local**2 * (length / count)[tube]).astype(np.float32)
    return points.astype(np.float32), volumes


def _frame(direction: Floats) -> tuple[Floats, Floats]:
    """Two unit vectors across each direction (n, 3)."""
    helper = np.where(np.abs(direction[:, 2:]) < 0.9, np.array([[0, 0, 1.0]]), np.array([[1.0, 0, 0]]))
    u = np.cross(direction, helper)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    return u.astype(np.float32), np.cross(direction, u).astype(np.float32)

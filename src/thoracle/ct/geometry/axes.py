"""Measure the axes of an affine: which is which, how long a step, how far from straight."""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thoracle.types import Affine

STRAIGHT: Final = 1e-6  # radians; a thousandth of a voxel over a thousand of them
MOST_DRIFT: Final = 0.5  # voxels over a whole scan that axes may be off perpendicular; then they are squared

Vector = NDArray[np.float64]


def axis_order(affine: Affine) -> list[int]:
    """Find for x, y and z the array axis that lies nearest."""
    directions = np.abs(affine[:3, :3] / step_lengths(affine))
    return max((list(order) for order in itertools.permutations(range(3))), key=lambda order: directions[[0, 1, 2], order].sum())


def step_lengths(affine: NDArray[np.float64]) -> Vector:
    """Measure millimetres a step along each array axis: exact along the body's axes, and to 12 digits, beyond rounding, elsewhere."""
    linear = affine[:3, :3].astype(np.float64)
    one_entry = np.count_nonzero(linear, axis=0) == 1
    slanted = np.array([float(f"{length:.12g}") for length in np.linalg.norm(linear, axis=0)])
    return np.where(one_entry, np.abs(linear).sum(axis=0), slanted)


def degrees_off(linear: NDArray[np.float64]) -> float:
    """Measure the largest angle between an axis and the body's axis of the same place."""
    return float(np.degrees(np.arccos(np.clip(np.abs(np.diagonal(linear)) / np.linalg.norm(linear, axis=0), 0, 1)).max()))


def drifts_of(affine: Affine, shape: tuple[int, ...]) -> Vector:
    """Measure how far each axis (columns) slides along another (rows) by its end, in voxels of that other; 0 of perpendicular axes."""
    lengths = step_lengths(affine)
    directions = affine[:3, :3] / lengths
    cosines = np.abs(directions.T @ directions)
    np.fill_diagonal(cosines, 0)
    extents: Vector = lengths * shape
    return np.asarray(cosines * extents / lengths[:, None])


def upright_box(linear: NDArray[np.float64], shape: tuple[int, ...] | list[int]) -> Vector:
    """Count voxels along x, y, z of the upright box around a turned one; a hair more than a whole step is rounding."""
    steps: Vector = np.abs(linear) @ (np.array(shape) - 1) / step_lengths(linear)
    return np.asarray(np.ceil(steps - 1e-6) + 1)

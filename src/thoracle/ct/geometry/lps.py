"""Turn an array to patient left, posterior, superior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from thoracle.ct.geometry.axes import MOST_DRIFT, STRAIGHT, Vector, axis_order, degrees_off, drifts_of, step_lengths, upright_box
from thoracle.types import Affine, HounsfieldArray, Spacing

AIR_HU: Final = -1000  # what lies outside a scan that is turned
_SAME_PLACE: Final = 1e-3  # voxels; less is rounding in the file and not worth a word


@dataclass(frozen=True, kw_only=True, eq=False)
class LPSGrid:
    """Hold Hounsfield units (x, y, z) whose indices grow towards left, posterior, superior; `affine` is diagonal but for its offset."""

    array: HounsfieldArray
    spacing: Spacing
    affine: Affine
    repaired: tuple[str, ...]


def to_lps(array: NDArray[Any], affine: Affine) -> LPSGrid:
    """Turn Hounsfield units to LPS order: a view where axes are swapped and flipped, a new array only where they are oblique.

    Axes that are nearly perpendicular are squared first. Oblique axes are resampled linearly at the same spacing, with air around, unless
    no voxel moves by more than half a voxel. `affine` is one that `resolve_affine` gave.
    """
    axes = axis_order(affine)
    turned = array.transpose(axes)
    linear, offset = affine[:3, axes], affine[:3, 3].copy()
    for axis in range(3):
        if linear[axis, axis] < 0:
            turned = np.flip(turned, axis)
            offset += linear[:, axis] * (turned.shape[axis] - 1)
            linear[:, axis] *= -1
    drift = float(drifts_of(linear, turned.shape).max())
    notes: tuple[str, ...] = ()
    if _SAME_PLACE < drift < MOST_DRIFT:
        centre = offset + linear @ (np.array(turned.shape) - 1) / 2
        linear = _squared(linear)
        offset = centre - linear @ (np.array(turned.shape) - 1) / 2
        notes = (f"axes that are not quite perpendicular squared: over the scan no voxel drifts by more than {drift:.2f} voxels",)
    spacing = step_lengths(linear)
    half = (np.array(turned.shape) - 1) / 2
    tilt = linear - np.diag(spacing)
    moved = float((np.abs(tilt) @ half / spacing).max())
    if moved > 0.5:
        return _straightened(turned, linear, offset, notes)
    grid = np.diag([*spacing, 1.0])
    grid[:3, 3] = offset + tilt @ half  # the centre stays where it is
    note = f"axes {degrees_off(linear):.2f} degrees oblique taken as aligned: no voxel moves by more than {moved:.2f} voxels"
    return LPSGrid(array=turned, spacing=_triple(spacing), affine=grid, repaired=(*notes, note) if moved > _SAME_PLACE else notes)


def _squared(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same steps along the nearest perpendicular axes, by the polar decomposition."""
    lengths = step_lengths(linear)
    left, _, right = np.linalg.svd(linear / lengths)
    directions = left @ right
    directions[np.abs(directions) < STRAIGHT] = 0
    return np.asarray(directions / np.linalg.norm(directions, axis=0) * lengths)


def _straightened(array: NDArray[Any], linear: NDArray[np.float64], offset: Vector, notes: tuple[str, ...]) -> LPSGrid:
    """Linear resampling onto the smallest LPS grid of the same spacing and centre that holds the whole scan."""
    spacing, shape = step_lengths(linear), upright_box(linear, array.shape)
    grid = np.diag([*spacing, 1.0])
    grid[:3, 3] = offset + linear @ (np.array(array.shape) - 1) / 2 - spacing * (shape - 1) / 2
    inverse = np.linalg.inv(linear)
    straight = ndimage.affine_transform(
        array.T,  # x fastest, as scans lie in memory: twice as fast
        (inverse @ grid[:3, :3])[::-1, ::-1],
        offset=(inverse @ (grid[:3, 3] - offset))[::-1],
        output_shape=tuple(int(n) for n in shape[::-1]),
        output=array.dtype,  # integers are rounded, not cut
        order=1,
        mode="constant",
        cval=AIR_HU,
    ).T
    note = f"axes {degrees_off(linear):.2f} degrees oblique: resampled linearly to the body's axes, {AIR_HU} HU around"
    return LPSGrid(array=straight, spacing=_triple(spacing), affine=grid, repaired=(*notes, note))


def _triple(vector: Vector) -> Spacing:
    x, y, z = (float(value) for value in vector)
    return x, y, z

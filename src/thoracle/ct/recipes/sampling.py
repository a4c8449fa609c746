"""Place the samples of a recipe along each axis of a scan."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from thoracle.ct.recipes.orientation import is_flipped, scan_axes
from thoracle.ct.recipes.recipe import CropOrPad, FitToTiles, Recipe, ResampleToSpacing, ResizeByArea
from thoracle.errors import GeometryInvalid, InputError
from thoracle.types import FloatArray

_NAMES: Final = "xyz"
_Floats = NDArray[np.floating[Any]]
#: Voxels (x, y, z) of a scan.
Box = tuple[slice, slice, slice]


def box_as_text(box: Box) -> str:
    """Write a box as a cell of a table, which `box_from_text` reads: "3:90 0:96 0:80"."""
    return " ".join(f"{side.start}:{side.stop}" for side in box)


def box_from_text(text: str) -> Box:
    """Read what `box_as_text` wrote; raises ValueError for anything else."""
    x, y, z = (slice(*map(int, side.split(":"))) for side in text.split(" "))
    if any(side.step is not None or not 0 <= side.start < side.stop for side in (x, y, z)):
        raise ValueError("no box")
    return x, y, z


@dataclass(frozen=True, kw_only=True, eq=False)
class SampledAxis:
    """Hold the samples along one axis of a scan, in the order of the input.

    Attributes:
        weights: (samples, voxels of the scan from `first`).
        first: voxel that samples may be made of.
        kept: samples that are not cropped.
        inside: where these are in the input; the rest of it is padding.
        size: voxels of the input.
        step: voxels of the scan from one of the input to the next, towards left, posterior or superior;
        shift: and where in the scan the first in that direction lies.
    """

    weights: sparse.csr_array
    first: int
    kept: slice
    inside: slice
    size: int
    step: float
    shift: float

    @property
    def is_cropped(self) -> bool:
        """Tell whether samples are left out."""
        return bool(self.kept.stop - self.kept.start < self.weights.shape[0])

    def part(self, samples: slice, dtype: np.dtype[Any]) -> tuple[slice, sparse.csr_array]:
        """Return the voxels of the scan that some samples are made of, and their weights (samples, voxels)."""
        weights = self.weights[samples].astype(dtype)
        start, stop = int(weights.indices.min()), int(weights.indices.max()) + 1
        return slice(self.first + start, self.first + stop), weights[:, start:stop]


def sample_axes(
    shape: tuple[int, ...], spacing: tuple[float, float, float], recipe: Recipe, foreground: Box | None
) -> tuple[SampledAxis, SampledAxis, SampledAxis]:
    """Place samples along x, y and z of a scan.

    Args:
        shape, spacing: of the scan's array, (x, y, z) and mm.
        recipe: of the input.
        foreground: what its first step keeps of the scan; None where it has no such step.

    Raises:
        GeometryInvalid: so thin along an axis that no voxel is left.
        InputError: a foreground is needed and not given.
    """
    if recipe.foreground is not None and foreground is None:
        hint = "Give the scan, or its `foreground_box`."
        raise InputError("the recipe crops to a scan's foreground, which is not given", hint=hint, source="preprocess")
    box = foreground or tuple(slice(0, count) for count in shape)
    by_axis = {
        axis: _sample_axis(box[axis], spacing[axis], recipe, position, _NAMES[axis]) for position, axis in enumerate(scan_axes(recipe.axes))
    }
    return by_axis[0], by_axis[1], by_axis[2]


def _sample_axis(box: slice, spacing: float, recipe: Recipe, position: int, name: str) -> SampledAxis:
    """Place samples along the axis of the input at `position`, which is called `name` in the scan."""
    count, resampling = box.stop - box.start, recipe.resampling
    if isinstance(resampling, ResampleToSpacing):
        samples, step, shift = _linear_grid(count, spacing, resampling.spacing[position], resampling.grid)
        if samples < 1:
            target = resampling.spacing[position]
            detail = f"{count} voxels of {spacing:g} mm along {name} leave none at {target:g} mm"
            raise GeometryInvalid(detail, hint="Give a scan with more slices.")
        weights = _linear_weights(np.arange(samples) * step + shift, count)
    elif isinstance(resampling, ResizeByArea):
        samples = resampling.samples[position]
        step, weights = count / samples, _area_weights(count, samples)
        shift = (step - 1) / 2
    else:
        samples, step, shift = count, 1.0, 0.0
        weights = _matrix(np.ones(count), np.arange(count), np.ones(count, int), count)
    size = recipe.size[position]
    if isinstance(recipe.fit, FitToTiles):
        size *= max(samples // size, 1)
    before, first = _margins(samples, size, recipe.fit)
    shift += (first - before) * step
    if is_flipped(recipe.axes[position]):
        weights, shift = weights[:, ::-1], count - 1 - shift - (size - 1) * step
    kept = min(samples, size)
    return SampledAxis(
        weights=weights,
        first=box.start,
        kept=slice(first, first + kept),
        inside=slice(before, before + kept),
        size=size,
        step=step,
        shift=box.start + shift,
    )


def _linear_grid(count: int, spacing: float, target: float, grid: str) -> tuple[int, float, float]:
    """Return how many samples there are, their distance in voxels, and where the first lies."""
    if grid == "half-pixel":
        samples = int(count * (spacing / target))  # the division first: it decides whether 500 voxels of 0.6 mm give 399 or 400
        step = count / max(samples, 1)
        return samples, step, (step - 1) / 2
    step = target / spacing
    if grid == "first-voxel":
        return round((count - 1) * spacing / target + 1), step, 0.0
    samples = 1 if count == 1 else math.floor(count * spacing / target)
    return samples, step, (count - 1 - (samples - 1) * step) / 2


def _linear_weights(positions: _Floats, count: int) -> sparse.csr_array:
    inside = positions.clip(0, count - 1)
    lower = inside.astype(np.int32)
    upper_weight: FloatArray = inside - lower
    columns = np.stack([lower, np.minimum(lower + 1, count - 1)], axis=1).ravel()
    return _matrix(np.stack([1 - upper_weight, upper_weight], axis=1).ravel(), columns, np.full(len(lower), 2), count)


def _area_weights(count: int, samples: int) -> sparse.csr_array:
    index = np.arange(samples)
    starts, stops = index * count // samples, -(-(index + 1) * count // samples)
    lengths = stops - starts
    columns = np.concatenate([np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)])
    return _matrix(np.repeat(1 / lengths, lengths), columns, lengths, count)


def _matrix(weights: _Floats, columns: NDArray[np.integer], lengths: NDArray[np.integer], count: int) -> sparse.csr_array:
    ends = np.concatenate([[0], np.cumsum(lengths)])
    matrix = sparse.csr_array((weights, columns, ends), shape=(len(lengths), count))
    matrix.eliminate_zeros()
    return matrix


def _margins(samples: int, size: int, fit: CropOrPad | FitToTiles | None) -> tuple[int, int]:
    """Return how many voxels of padding come before the samples, and how many samples are cropped before the input."""
    larger = isinstance(fit, CropOrPad) and fit.odd_voxel == "before"
    before, first = ((max(excess, 0) + larger) // 2 for excess in (size - samples, samples - size))
    return before, first

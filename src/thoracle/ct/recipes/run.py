"""Run a recipe on one scan, slice by slice: memory holds the input, and a few planes a thread.

Resampling along an axis is a sparse matrix. In plane it comes before z, so that no slice is resampled twice.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from thoracle.ct.recipes.orientation import scan_axes
from thoracle.ct.recipes.recipe import MOST_VOXELS, Recipe, ResampleToSpacing, ScaleIntensity
from thoracle.ct.recipes.sampling import Box, SampledAxis, sample_axes
from thoracle.ct.volume import Volume
from thoracle.errors import GeometryInvalid
from thoracle.types import HounsfieldArray, ModelInput

#: Memory is the limit beyond.
MOST_THREADS: Final = 8
_ALL: Final = slice(None)
_STRIDE: Final = 16  # unused columns; rows of 4096 bytes would all fall on the same few lines of the cache when transposed


def run_recipe(volume: Volume, recipe: Recipe) -> ModelInput:
    """Make a model's input, float32 of `recipe.size` along its axes, or of whole tiles of it; raises GeometryInvalid as `sample_axes`, and
    for an input of the scan's own size that is beyond the limit.
    """
    x, y, z = sample_axes(volume.array.shape, volume.spacing, recipe, foreground_box(volume, recipe))
    order = scan_axes(recipe.axes)
    shape = (z.size, x.size, y.size)
    if recipe.varies and math.prod(shape) > MOST_VOXELS:
        detail = f"the scan's own voxels are {math.prod(shape):,}, {MOST_VOXELS:,} is the limit"
        raise GeometryInvalid(detail, hint="Give a part of it, or a reconstruction of fewer.")
    planes_ZXY = np.empty(shape, np.float32)
    scan = _Resampling(volume.array, (x, y, z), recipe)
    threads = min(os.cpu_count() or 1, MOST_THREADS)

    def fill(part: slice) -> float:
        """Write the planes of some kept samples along z, and return their least value."""
        inside = planes_ZXY[z.inside, x.inside, y.inside][part]
        least = np.inf
        for plane, resampled in zip(inside, scan.planes(x.kept, y.kept, _within(z.kept, part)), strict=True):
            plane[:] = resampled
            least = min(least, float(resampled.min()))
        return least

    with ThreadPoolExecutor(threads) as pool:
        least = min(pool.map(fill, _parts(z.kept.stop - z.kept.start, threads)))
        if recipe.fit is not None:
            if recipe.fit.padding is None and least > recipe.intensity.interval[0] and any(axis.is_cropped for axis in (x, y, z)):
                samples = _parts(z.weights.shape[0], threads)
                least = min(pool.map(lambda part: min(float(plane.min()) for plane in scan.planes(_ALL, _ALL, part)), samples))
            _pad(planes_ZXY, (z, x, y), least if recipe.fit.padding is None else recipe.fit.padding)
    return np.ascontiguousarray(planes_ZXY.transpose([(2, 0, 1).index(axis) for axis in order]))


def foreground_box(volume: Volume, config: object) -> Box | None:
    """Find what the first step of a `Recipe` keeps of a scan, (x, y, z); None for a preprocessing that has no such step."""
    if not isinstance(config, Recipe) or config.foreground is None:
        return None
    rows, columns, slices = (np.zeros(count, bool) for count in volume.array.shape)
    for k in range(len(slices)):
        dense = volume.array[:, :, k] > config.foreground.above
        rows |= dense.any(axis=1)
        columns |= dense.any(axis=0)
        slices[k] = dense.any()
    if not slices.any():
        rows[:] = columns[:] = slices[:] = True
    x, y, z = (slice(int(line.argmax()), len(line) - int(line[::-1].argmax())) for line in (rows, columns, slices))
    return x, y, z


class _Resampling:
    """Resample and scale planes of a scan."""

    def __init__(self, array: HounsfieldArray, axes: tuple[SampledAxis, SampledAxis, SampledAxis], recipe: Recipe) -> None:
        self._array, self._axes, self._intensity = array, axes, recipe.intensity
        linear = recipe.resampling if isinstance(recipe.resampling, ResampleToSpacing) else None
        self._truncates = linear is not None and linear.truncates_integers and array.dtype.kind == "i"
        self._dtype: np.dtype[Any] = np.dtype(np.float32 if linear is None else np.float64)

    def planes(self, *samples: slice) -> Iterator[ModelInput]:
        """Yield (x, y) planes, of some samples along x and y, at some samples along z."""
        (rows, along_x), (columns, along_y), (slices, along_z) = (
            axis.part(part, self._dtype) for axis, part in zip(self._axes, samples, strict=True)
        )
        array = self._array[rows, columns, slices]
        width = array.shape[0]
        source_YX = np.zeros((array.shape[1], width + _STRIDE), self._dtype)  # fresh pages for each slice would double the time
        recent: dict[int, NDArray[Any]] = {}
        for start, stop in pairwise(along_z.indptr.tolist()):
            lower = along_z.indices[start:stop].tolist()
            for k in lower:
                if k not in recent:
                    np.copyto(source_YX[:, :width], array[:, :, k].T)
                    recent[k] = along_x @ (along_y @ source_YX).T[:width]
            recent = {k: recent[k] for k in lower}
            plane = along_z.data[start] * recent[lower[0]]
            for k, weight in zip(lower[1:], along_z.data[start + 1 : stop], strict=True):
                plane += weight * recent[k]
            yield _scale(np.trunc(plane) if self._truncates else plane, self._intensity)


def _scale(plane: NDArray[Any], intensity: ScaleIntensity) -> ModelInput:
    """Clip and scale in single precision, in the order of the published code."""
    (low, high), (first, last) = intensity.hu_window, intensity.interval
    scaled: ModelInput = plane.astype(np.float32)
    np.clip(scaled, low, high, out=scaled)
    scaled -= np.float32(low)
    scaled /= np.float32(high - low)
    scaled *= np.float32(last - first)
    scaled += np.float32(first)
    return scaled


def _parts(count: int, threads: int) -> list[slice]:
    edges = np.linspace(0, count, min(threads, count) + 1).astype(int).tolist()
    return [slice(first, last) for first, last in pairwise(edges)]


def _within(samples: slice, part: slice) -> slice:
    return slice(samples.start + part.start, samples.start + part.stop)


def _pad(planes_ZXY: ModelInput, axes: tuple[SampledAxis, SampledAxis, SampledAxis], padding: float) -> None:
    for position, axis in enumerate(axes):
        lines = np.moveaxis(planes_ZXY, position, 0)
        lines[: axis.inside.start] = padding
        lines[axis.inside.stop :] = padding

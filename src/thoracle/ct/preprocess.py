"""Preprocess a `Volume` into a model's input, as CT-CLIP's `PreprocessConfig` or another model's `Recipe` says.

CT-CLIP's published computation is: clip to the window, trilinear resampling (half-pixel centres, as torch's `align_corners=False`),
division, centre crop or padding. Here each output slice is made on its own from the two input slices it lies between, only where the crop
keeps it; in plane, resampling along an axis is a sparse matrix with two weights a row.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from thoracle.config_reader import Range, check_fields, closest_type, config_from_mapping
from thoracle.ct.recipes.orientation import ZXY
from thoracle.ct.recipes.recipe import HINT, MOST_VOXELS, Hounsfield, InputUnits, Millimetres, Recipe, Voxels
from thoracle.ct.recipes.run import MOST_THREADS, run_recipe
from thoracle.ct.recipes.sampling import Box, SampledAxis, sample_axes
from thoracle.ct.volume import Volume
from thoracle.errors import GeometryInvalid, InputError
from thoracle.types import Affine, HounsfieldArray, ModelInput, Spacing

_AXES: Final = "zxy"
_STRIDE: Final = 16  # floats; rows of 2048 bytes would all fall on the same few lines of the cache when transposed

Slice = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig:
    """Configure a model's input; defaults are CT-CLIP's (Hamamci et al., arXiv:2403.17834). Triples are (z, x, y).

    Attributes:
        spacing: mm a voxel after resampling.
        size: voxels after cropping or padding.
        hu_window: lower and upper end to which values are clipped.
        intensity_scale: HU that become 1.
        pad_value: value around a scan smaller than `size`, in units of `intensity_scale`.
        clip_stage: clip before resampling, as published inference does, or after it, as published training did.
    """

    axes: ClassVar[str] = ZXY
    zero_hu: ClassVar[float] = 0.0
    varies: ClassVar[bool] = False

    spacing: tuple[Millimetres, Millimetres, Millimetres] = (1.5, 0.75, 0.75)
    size: tuple[Voxels, Voxels, Voxels] = (240, 480, 480)
    hu_window: tuple[Hounsfield, Hounsfield] = (-1000.0, 1000.0)
    intensity_scale: Annotated[float, Range(above=0, below=1e9, unit="HU")] = 1000.0
    pad_value: InputUnits = -1.0
    clip_stage: Literal["before-resampling", "after-resampling"] = "before-resampling"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.hu_window[0] >= self.hu_window[1]:
            raise InputError(f"hu_window must rise, is {self.hu_window}", hint=HINT, source="preprocess")
        if math.prod(self.size) > MOST_VOXELS:
            raise InputError(f"size has {math.prod(self.size):,} voxels, {MOST_VOXELS:,} is the limit", hint=HINT, source="preprocess")

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Tell whether an array of this shape can be the input."""
        return shape == self.size


#: How a model's input is made. Both name its `axes` and its `size` along them, the HU that are one unit of it and those that are 0.
Preprocessing = PreprocessConfig | Recipe


def preprocessing_from_mapping(mapping: Mapping[str, Any], *, source: str | Path) -> Preprocessing:
    """Read what `config_to_mapping` wrote of either; raises InputError as `config_from_mapping`."""
    config: Preprocessing = config_from_mapping(closest_type((PreprocessConfig, Recipe), mapping), mapping, source=source)
    return config


def preprocess(volume: Volume, config: Preprocessing = PreprocessConfig()) -> ModelInput:
    """Preprocess one volume into a model's input.

    Returns:
        float32 of `config.size` along `config.axes` (CT-CLIP's are (z, x, y)), units of `config.intensity_scale` HU; of whole tiles of
        that size where it `varies`.

    Raises:
        GeometryInvalid: so thin along an axis that no voxel is left at the config's spacing, or too large where the size varies.
    """
    if isinstance(config, Recipe):
        return run_recipe(volume, config)
    counts = [volume.array.shape[axis] for axis in (2, 0, 1)]
    spacings = [volume.spacing[axis] for axis in (2, 0, 1)]
    z, x, y = (_Axis.of(*arguments) for arguments in zip(_AXES, counts, spacings, config.spacing, config.size, strict=True))
    array = volume.array[x.needed, y.needed, z.needed]
    along_x, along_y = x.matrix(), y.matrix()
    result = np.empty(config.size, np.float32)
    threads = min(os.cpu_count() or 1, MOST_THREADS)

    def fill(first: int) -> None:
        """Yield slabs of planes, starting at one plane."""
        scratch = np.zeros((2, y.width, x.width + _STRIDE), np.float32)  # made once: fresh pages for each slice would double the time
        for position in range(first, config.size[0], threads):
            at, plane = position - z.before, result[position]
            if not 0 <= at < z.kept:
                plane[:] = config.pad_value
                continue
            for margin in x.outside:
                plane[margin] = config.pad_value
            for margin in y.outside:
                plane[x.inside, margin] = config.pad_value
            source = _blended(array, scratch, lower=int(z.lower[at]), weight=z.weight[at], config=config)
            resampled = along_x @ (along_y @ source).T[: x.width]
            if config.clip_stage == "after-resampling":
                np.clip(resampled, *config.hu_window, out=resampled)
            np.divide(resampled, np.float32(config.intensity_scale), out=plane[x.inside, y.inside])

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(threads)):
            pass
    return result


def to_hounsfield(values: ModelInput, config: Preprocessing) -> ModelInput:
    """Convert a model's input, or a part of it, back to HU."""
    hu: ModelInput = values * np.float32(config.intensity_scale)
    return hu + np.float32(config.zero_hu) if config.zero_hu else hu


def to_input_units(hu: float, config: Preprocessing) -> float:
    """Convert HU to units of a model's input."""
    return (hu - config.zero_hu) / config.intensity_scale


def input_affine(
    shape: tuple[int, ...], spacing: Spacing, config: Preprocessing = PreprocessConfig(), *, foreground: Box | None = None
) -> Affine:
    """Compute the affine of a model's input in the scan's millimetres, whatever its axes are: of `view_as(array, config.axes, ZXY)`.

    Args:
        shape, spacing: of the scan's array, (x, y, z) and mm.
        config: what it was preprocessed with.
        foreground: `foreground_box` of that scan.

    Returns:
        (4, 4): from an index (x, y, z) of the input to the scan's index, a voxel's centre being whole; diagonal but for the offset.
        Padding lies outside the scan.

    Raises:
        GeometryInvalid: as `preprocess`.
        InputError: the recipe crops to a foreground that is not given.
    """
    axes: Sequence[_Axis | SampledAxis]
    if isinstance(config, Recipe):
        axes = sample_axes(shape, spacing, config, foreground)
    else:
        axes = [_Axis.of(_AXES[axis], shape[n], spacing[n], config.spacing[axis], config.size[axis]) for n, axis in enumerate((1, 2, 0))]
    affine = np.eye(4)
    for position, axis in enumerate(axes):
        affine[position, position], affine[position, 3] = axis.step, axis.shift
    return affine


@dataclass(frozen=True, kw_only=True, eq=False)
class _Axis:
    """Along one axis, the voxels that survive the crop, and where between them each sample lies."""

    needed: slice  # of the scan's voxels
    width: int  # of `needed`
    before: int  # samples of padding before the scan
    lower: NDArray[np.int32]  # from the beginning of `needed`; a sample lies between it and the next,
    weight: NDArray[np.float32]  # which has this weight
    step: float  # of the scan's voxels, from a sample to the next,
    shift: float  # and where the first one lies, padding counted

    @classmethod
    def of(cls, name: str, count: int, spacing: float, target: float, size: int) -> _Axis:
        resampled = int(count * (spacing / target))  # the division first: it decides whether 500 voxels of 0.6 mm give 399 or 400
        if resampled < 1:
            raise GeometryInvalid(
                f"{count} voxels of {spacing:g} mm along {name} leave none at {target:g} mm", hint="Give a scan with more slices."
            )
        first, before, step = max((resampled - size) // 2, 0), max((size - resampled) // 2, 0), count / resampled
        index = np.arange(first, first + min(resampled, size), dtype=np.float64)
        source = np.clip((index + 0.5) * step - 0.5, 0, count - 1)
        lower = source.astype(np.int32)
        start, stop = int(lower[0]), min(int(lower[-1]) + 2, count)
        return cls(
            needed=slice(start, stop),
            width=stop - start,
            before=before,
            lower=lower - start,
            weight=(source - lower).astype(np.float32),
            step=step,
            shift=(first - before + 0.5) * step - 0.5,
        )

    @property
    def kept(self) -> int:
        return len(self.lower)

    @property
    def inside(self) -> slice:
        """Return the slice of the output that is no padding."""
        return slice(self.before, self.before + self.kept)

    @property
    def outside(self) -> tuple[slice, slice]:
        return slice(self.before), slice(self.before + self.kept, None)

    def matrix(self) -> sparse.csr_array:
        """Build (kept, width): applied to an array it resamples its first axis."""
        columns = np.stack([self.lower, np.minimum(self.lower + 1, self.width - 1)], 1).ravel()
        weights = np.stack([1 - self.weight, self.weight], 1).ravel()
        matrix = sparse.csr_array((weights, columns, np.arange(0, 2 * self.kept + 1, 2)), shape=(self.kept, self.width))
        matrix.eliminate_zeros()
        return matrix


def _blended(array: HounsfieldArray, planes: Slice, *, lower: int, weight: np.float32, config: PreprocessConfig) -> Slice:
    """The input between two slices, (y, x) with `_STRIDE` unused columns, in the first of two scratch planes."""
    plane: Slice = planes[0]
    second: Slice = planes[1]
    _load(array[:, :, lower], into=plane, config=config)
    if weight > 0:
        _load(array[:, :, lower + 1], into=second, config=config)
        np.subtract(second, plane, out=second)
        np.multiply(second, weight, out=second)
        np.add(plane, second, out=plane)
    return plane


def _load(voxels: HounsfieldArray, *, into: Slice, config: PreprocessConfig) -> None:
    np.copyto(into[:, :-_STRIDE], voxels.T)
    if config.clip_stage == "before-resampling":
        np.clip(into, *config.hu_window, out=into)  # the unused columns too: one contiguous run is twice as fast

"""Describe how a scan becomes a model's input: steps as frozen dataclasses, in the order in which they run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from thoracle.config_reader import Range, check_fields
from thoracle.ct.recipes.orientation import check_axes
from thoracle.errors import InputError

HINT: Final = "Correct the configuration."
#: A configuration that asks for more than 2 GiB is a mistake.
MOST_VOXELS: Final = 1 << 29
_LARGEST: Final = 1e9
Millimetres = Annotated[float, Range(above=0, below=_LARGEST, unit="mm")]
Voxels = Annotated[int, Range(min=1, below=_LARGEST, unit="voxels")]
Hounsfield = Annotated[float, Range(above=-_LARGEST, below=_LARGEST, unit="HU")]
InputUnits = Annotated[float, Range(above=-_LARGEST, below=_LARGEST)]


@dataclass(frozen=True, kw_only=True)
class CropForeground:
    """Crop a scan to the bounding box of what is denser than air; a scan without any stays as it is.

    Attributes:
        above: HU that a voxel of the foreground exceeds.
    """

    above: Hounsfield

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class ResampleToSpacing:
    """Interpolate linearly in float64 at another spacing; beyond the middles of the outermost voxels these go on.

    Of n voxels of s mm, at t mm, "half-pixel" (torch) makes floor(n * (s / t)) that share the scan's extent; "centred" (torchio) makes
    floor(n * s / t) of exactly t mm around its centre; "first-voxel" (MONAI) makes round((n - 1) * s / t + 1) of exactly t mm, the
    first in the middle of the first.

    Attributes:
        spacing: mm a voxel, along the axes of the input.
        grid: where the samples lie.
        truncates_integers: cut the fraction of a HU off where the scan has integers.
    """

    spacing: tuple[Millimetres, Millimetres, Millimetres]
    grid: Literal["half-pixel", "centred", "first-voxel"]
    truncates_integers: bool = False

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class ResizeByArea:
    """Average the voxels below each sample (torch's adaptive average pooling), whatever the spacing.

    Attributes:
        samples: along the axes of the input.
    """

    samples: tuple[Voxels, Voxels, Voxels]

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class ScaleIntensity:
    """Clip to a window and map its ends to those of an interval. (A mean and a deviation are the interval of (end - mean) / deviation.)

    Attributes:
        hu_window: lower and upper end to which values are clipped.
        interval: what these become.
    """

    hu_window: tuple[Hounsfield, Hounsfield]
    interval: tuple[InputUnits, InputUnits]

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("hu_window", "interval"):
            low, high = getattr(self, name)
            if low >= high:
                raise InputError(f"{name} must rise, is {(low, high)}", hint=HINT, source="config")


@dataclass(frozen=True, kw_only=True)
class CropOrPad:
    """Crop and pad each axis around its centre.

    Attributes:
        size: voxels, along the axes of the input.
        padding: value around a scan that is smaller; null takes the least of the scan, as it was before it was cropped.
        odd_voxel: where the larger half of an odd number of voxels is cropped or padded.
    """

    size: tuple[Voxels, Voxels, Voxels]
    padding: InputUnits | None
    odd_voxel: Literal["before", "after"]

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class FitToTiles:
    """Crop each axis around its centre to whole tiles, and pad one that is shorter than a tile: the size of the input is the scan's own.

    Attributes:
        tile: voxels, along the axes of the input.
        padding: value around a scan that is smaller than a tile.
    """

    tile: tuple[Voxels, Voxels, Voxels]
    padding: InputUnits

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Configure a model's input by steps, which run in this order; triples are along the axes of the input.

    Attributes:
        axes: where the indices of the input grow to; a letter of R or L, A or P, S or I for each axis.
        foreground: None keeps all of the scan.
        resampling: to a spacing or to a number of samples; None keeps the scan's voxels.
        intensity: from HU to the units of the input.
        fit: to a size, or to whole tiles; None where resampling gives the size that the model takes.
    """

    axes: str = "RAS"
    foreground: CropForeground | None = None
    resampling: ResampleToSpacing | ResizeByArea | None
    intensity: ScaleIntensity
    fit: CropOrPad | FitToTiles | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_axes(self.axes)
        if self.fit is None and not isinstance(self.resampling, ResizeByArea):
            raise InputError("fit must say the size that the model takes, which a spacing does not", hint=HINT, source="config")
        if math.prod(self.size) > MOST_VOXELS:
            raise InputError(f"size has {math.prod(self.size):,} voxels, {MOST_VOXELS:,} is the limit", hint=HINT, source="config")

    @property
    def size(self) -> tuple[int, int, int]:
        """Return the voxels of the input along its axes; of the smallest one, a tile, where they depend on the scan."""
        if self.fit is not None:
            return self.fit.tile if isinstance(self.fit, FitToTiles) else self.fit.size
        assert isinstance(self.resampling, ResizeByArea), "a spacing has a fit"
        return self.resampling.samples

    @property
    def varies(self) -> bool:
        """Tell whether the voxels of the input depend on the scan."""
        return isinstance(self.fit, FitToTiles)

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Tell whether an array of this shape can be the input."""
        if not self.varies:
            return shape == self.size
        return len(shape) == len(self.size) and all(side and not side % tile for side, tile in zip(shape, self.size, strict=True))

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Return mm a voxel along the axes of the input; None where that depends on the scan."""
        return self.resampling.spacing if isinstance(self.resampling, ResampleToSpacing) else None

    @property
    def hu_window(self) -> tuple[float, float]:
        """Return the HU to which values are clipped."""
        return self.intensity.hu_window

    @property
    def intensity_scale(self) -> float:
        """Return the HU of one unit of the input."""
        (low, high), (first, last) = self.intensity.hu_window, self.intensity.interval
        return (high - low) / (last - first)

    @property
    def zero_hu(self) -> float:
        """Return the HU that become 0."""
        return self.intensity.hu_window[0] - self.intensity.interval[0] * self.intensity_scale

    @property
    def pad_value(self) -> float:
        """Return the value of what no scan covers: that of air, where padding depends on the scan."""
        return self.intensity.interval[0] if self.fit is None or self.fit.padding is None else self.fit.padding

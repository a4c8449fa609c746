"""Where samples lie: numbers worked out by hand, on each grid and in each direction."""

from __future__ import annotations

import numpy as np
import pytest

from thoracle.ct.recipes.recipe import CropForeground, CropOrPad, Recipe, ResampleToSpacing, ResizeByArea, ScaleIntensity
from thoracle.ct.recipes.sampling import SampledAxis, sample_axes
from thoracle.errors import GeometryInvalid, InputError

SCALE = ScaleIntensity(hu_window=(-1000, 1000), interval=(-1, 1))


def along_x(count: int, spacing: float, recipe: Recipe) -> SampledAxis:
    return sample_axes((count, 4, 4), (spacing, 2.0, 2.0), recipe, None)[0]


def recipe_of(grid: str, size: int, *, axes: str = "LPS", odd: str = "after") -> Recipe:
    return Recipe(
        axes=axes,
        resampling=ResampleToSpacing(spacing=(2.0, 2.0, 2.0), grid=grid),  # type: ignore[arg-type]
        intensity=SCALE,
        fit=CropOrPad(size=(size, 4, 4), padding=0.0, odd_voxel=odd),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("grid", "samples", "first", "step"),
    [
        # 10 voxels of 1.5 mm are 15 mm: floor(7.5) samples of 10 / 7 voxels share them ...
        ("half-pixel", 7, 3 / 14, 10 / 7),
        # ... or 7 of 4 / 3 voxels lie around their centre 4.5, ...
        ("centred", 7, 0.5, 4 / 3),
        # ... or begin in the first voxel and go on to round(9 * 0.75 + 1) = round(7.75).
        ("first-voxel", 8, 0.0, 4 / 3),
    ],
)
def test_grids(grid: str, samples: int, first: float, step: float) -> None:
    axis = along_x(10, 1.5, recipe_of(grid, samples))
    assert axis.weights.shape == (samples, 10)
    assert (axis.shift, axis.step) == (pytest.approx(first), pytest.approx(step))
    expected = (first + step * np.arange(samples)).clip(0, 9)
    np.testing.assert_allclose(axis.weights @ np.arange(10.0), expected, atol=1e-12)


def test_sizes_are_rounded_as_published() -> None:
    """round(2.5) is 2 in MONAI; torchio keeps an axis of one voxel."""
    assert along_x(4, 1.0, recipe_of("first-voxel", 2)).weights.shape[0] == 2
    assert along_x(1, 0.5, recipe_of("centred", 1)).weights.shape[0] == 1


def test_an_axis_against_the_scan_is_counted_from_its_end() -> None:
    """MONAI's first voxel is the scan's last."""
    axis = along_x(10, 1.5, recipe_of("first-voxel", 8, axes="RPS"))
    np.testing.assert_allclose(axis.weights @ np.arange(10.0), (9 - 4 / 3 * np.arange(8)).clip(0, 9), atol=1e-12)
    assert (axis.step, axis.shift) == (pytest.approx(4 / 3), pytest.approx(9 - 7 * 4 / 3))  # viewed towards the left


@pytest.mark.parametrize(("odd", "before", "first"), [("before", 2, 2), ("after", 1, 1)])
def test_the_larger_half_of_an_odd_number(odd: str, before: int, first: int) -> None:
    """7 samples to 10 voxels are 3 of padding, 7 samples to 4 are 3 cropped."""
    padded = along_x(7, 2.0, recipe_of("centred", 10, odd=odd))
    assert (padded.inside, padded.kept, padded.shift) == (slice(before, before + 7), slice(0, 7), -before)
    cropped = along_x(7, 2.0, recipe_of("centred", 4, odd=odd))
    assert (cropped.inside, cropped.kept, cropped.shift) == (slice(0, 4), slice(first, first + 4), first)
    assert (padded.is_cropped, cropped.is_cropped) == (False, True)


@pytest.mark.parametrize(("count", "samples"), [(7, 3), (3, 7), (5, 5)])
def test_area_averages_what_lies_below(count: int, samples: int) -> None:
    recipe = Recipe(axes="LPS", resampling=ResizeByArea(samples=(samples, 4, 4)), intensity=SCALE)
    axis = along_x(count, 1.0, recipe)
    ramp = np.arange(count) ** 2.0
    edges = [(o * count // samples, -(-(o + 1) * count // samples)) for o in range(samples)]
    np.testing.assert_allclose(axis.weights @ ramp, [ramp[start:stop].mean() for start, stop in edges])


def test_a_foreground_begins_later() -> None:
    recipe = Recipe(axes="RPS", foreground=CropForeground(above=-1000), resampling=ResizeByArea(samples=(3, 4, 4)), intensity=SCALE)
    axis, _, _ = sample_axes((10, 4, 4), (1.0, 1.0, 1.0), recipe, (slice(2, 8), slice(0, 4), slice(0, 4)))
    columns, weights = axis.part(slice(0, 1), np.dtype(np.float32))
    assert (columns, weights.toarray().tolist()) == (slice(6, 8), [[0.5, 0.5]])
    assert (axis.step, axis.shift) == (2, 2.5)
    with pytest.raises(InputError, match="foreground, which is not given"):
        sample_axes((10, 4, 4), (1.0, 1.0, 1.0), recipe, None)


def test_what_leaves_no_voxel_is_refused() -> None:
    with pytest.raises(GeometryInvalid, match=r"3 voxels of 0\.5 mm along x leave none at 2 mm"):
        along_x(3, 0.5, recipe_of("half-pixel", 4))

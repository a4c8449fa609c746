"""Recipes on scans: against a plain rendering in float64, in every order of storage, in mirrors and frames, and back to the scan."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from thoracle.ct.preprocess import PreprocessConfig, input_affine, preprocess
from thoracle.ct.read import read
from thoracle.ct.recipes.orientation import ZXY, reorder, view_as
from thoracle.ct.recipes.published import ASTRA_CHEST, COLIPRI, MERLIN, SPECTRE
from thoracle.ct.recipes.recipe import CropForeground, CropOrPad, FitToTiles, Recipe, ResampleToSpacing, ResizeByArea, ScaleIntensity
from thoracle.ct.recipes.run import foreground_box
from thoracle.ct.volume import HounsfieldSource, Provenance, Volume
from thoracle.errors import GeometryInvalid
from thoracle.inference.demo.assets import write_scan

NOWHERE = Provenance(
    sha256="", format="test", geometry="", hounsfield=HounsfieldSource(slope=1.0, intercept=0.0, source="stored", evidence="")
)
RECIPES = {
    "colipri": replace(COLIPRI, fit=replace(COLIPRI.fit, size=(80, 64, 88))),
    "colipri-sar": replace(COLIPRI, axes="SAR", fit=replace(COLIPRI.fit, size=(88, 64, 80))),
    "merlin": replace(MERLIN, fit=replace(MERLIN.fit, size=(96, 80, 64))),
    "astra-chest": replace(ASTRA_CHEST, resampling=ResizeByArea(samples=(56, 48, 40))),
}
ORDERS = ["".join(letters) for order in itertools.permutations(("LR", "PA", "SI")) for letters in itertools.product(*order)]


def volume_of(array: NDArray[Any], spacing: tuple[float, float, float]) -> Volume:
    return Volume(array=array, spacing=spacing, affine=np.diag([*spacing, 1.0]), provenance=NOWHERE)


def plain(volume: Volume, recipe: Recipe) -> NDArray[np.float64]:
    """The steps one after the other on the whole volume, in float64, along the axes of the input."""
    array = view_as(volume.array.astype(np.float64), "LPS", recipe.axes)
    spacing = np.array(view_spacing(volume.spacing, recipe.axes))
    if recipe.foreground is not None and (array > recipe.foreground.above).any():
        found = np.argwhere(array > recipe.foreground.above)
        array = array[tuple(slice(low, high + 1) for low, high in zip(found.min(axis=0), found.max(axis=0), strict=True))]
    counts = np.array(array.shape)
    if isinstance(recipe.resampling, ResizeByArea):
        array = torch.nn.functional.adaptive_avg_pool3d(torch.from_numpy(array.copy())[None], recipe.resampling.samples)[0].numpy()
    elif recipe.resampling is not None:
        target = np.array(recipe.resampling.spacing)
        if recipe.resampling.grid == "centred":
            sizes = np.where(counts == 1, 1, np.floor(counts * spacing / target)).astype(int)
            positions = [
                (np.arange(m) - (m - 1) / 2) * t / s + (n - 1) / 2 for m, n, s, t in zip(sizes, counts, spacing, target, strict=True)
            ]
        elif recipe.resampling.grid == "first-voxel":
            sizes = np.round((counts - 1) * spacing / target + 1).astype(int)
            positions = [np.arange(m) * t / s for m, s, t in zip(sizes, spacing, target, strict=True)]
        else:
            sizes = np.floor(counts * (spacing / target)).astype(int)
            positions = [(np.arange(m) + 0.5) * n / m - 0.5 for m, n in zip(sizes, counts, strict=True)]
        for axis, at in enumerate(positions):
            lines = np.moveaxis(array, axis, -1)
            grid = np.arange(lines.shape[-1])
            array = np.moveaxis(np.apply_along_axis(lambda line, at=at, grid=grid: np.interp(at, grid, line), -1, lines), -1, axis)
        if recipe.resampling.truncates_integers and volume.array.dtype.kind == "i":
            array = np.trunc(array)
    (low, high), (first, last) = recipe.intensity.hu_window, recipe.intensity.interval
    array = (array.clip(low, high) - low) / (high - low) * (last - first) + first
    if recipe.fit is None:
        return array
    padding = array.min() if recipe.fit.padding is None else recipe.fit.padding
    for axis, size in enumerate(recipe.size):
        if isinstance(recipe.fit, FitToTiles):
            size *= max(1, array.shape[axis] // size)  # noqa: PLW2901
        missing = size - array.shape[axis]
        half = (abs(missing) + (getattr(recipe.fit, "odd_voxel", "after") == "before")) // 2
        if missing >= 0:
            widths = [(half, missing - half) if a == axis else (0, 0) for a in range(3)]
            array = np.pad(array, widths, constant_values=padding)
        else:
            array = array.take(range(half, half + size), axis)
    return array


def view_spacing(spacing: tuple[float, float, float], axes: str) -> list[float]:
    return [spacing["LPS".index(letter) if letter in "LPS" else "RAI".index(letter)] for letter in axes]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_recipe_is_as_its_steps_say(data: st.DataObject) -> None:
    """Any axes, up and down, cropped and padded, int16 and float32, any memory layout."""
    shape = data.draw(st.tuples(*[st.integers(1, 16)] * 3))
    spacing = data.draw(st.tuples(*[st.sampled_from([0.7, 1.0, 1.3, 2.0])] * 3))
    size = data.draw(st.tuples(*[st.integers(1, 20)] * 3))
    resampling = data.draw(
        st.one_of(
            st.just(ResizeByArea(samples=size)),
            st.none(),
            st.builds(
                ResampleToSpacing,
                spacing=st.tuples(*[st.sampled_from([0.6, 1.0, 1.9])] * 3),
                grid=st.sampled_from(["half-pixel", "centred", "first-voxel"]),
                truncates_integers=st.booleans(),
            ),
        )
    )
    fit = st.one_of(
        st.builds(CropOrPad, size=st.just(size), padding=st.sampled_from([None, 0.0]), odd_voxel=st.sampled_from(["before", "after"])),
        st.builds(FitToTiles, tile=st.tuples(*[st.integers(1, 8)] * 3), padding=st.just(0.0)),
    )
    recipe = Recipe(
        axes=data.draw(st.sampled_from(ORDERS)),
        foreground=data.draw(st.sampled_from([None, CropForeground(above=-100), CropForeground(above=5000)])),
        resampling=resampling,
        intensity=data.draw(
            st.sampled_from(
                [
                    ScaleIntensity(hu_window=(-1000, 1000), interval=(-1, 1)),
                    ScaleIntensity(hu_window=(-5000, 200), interval=(0, 3)),
                ]
            )
        ),
        fit=None if isinstance(resampling, ResizeByArea) else data.draw(fit),
    )
    array = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-2048, 3072, shape)
    if data.draw(st.booleans()):
        array[:: data.draw(st.integers(1, 3))] = -1024
    array = array.astype(data.draw(st.sampled_from([np.int16, np.float32])), order=data.draw(st.sampled_from("CF")))
    volume = volume_of(array, spacing)
    try:
        result = preprocess(volume, recipe)
    except GeometryInvalid:
        assume(False)
    assert (recipe.takes(result.shape), result.dtype, result.flags.c_contiguous) == (True, np.float32, True)
    hu = recipe.intensity_scale
    differences = np.abs(result - plain(volume, recipe)) * hu
    if isinstance(resampling, ResampleToSpacing) and resampling.truncates_integers:
        assert differences.max() <= 1.001  # a whole number up to rounding is cut to the next
        assert np.median(differences) <= 1e-3
    else:
        assert differences.max() <= 2e-3


def test_ct_clips_recipe_in_these_words() -> None:
    """Half-pixel grid, clipped after resampling: two computations of one thing."""
    volume = volume_of(np.random.default_rng(0).integers(-2048, 3072, (40, 30, 20)).astype(np.int16), (1.1, 0.7, 2.0))
    config = PreprocessConfig(size=(30, 28, 60), clip_stage="after-resampling")
    recipe = Recipe(
        axes=ZXY,
        resampling=ResampleToSpacing(spacing=config.spacing, grid="half-pixel"),
        intensity=ScaleIntensity(hu_window=config.hu_window, interval=(-1, 1)),
        fit=CropOrPad(size=config.size, padding=config.pad_value, odd_voxel="after"),
    )
    np.testing.assert_allclose(preprocess(volume, recipe), preprocess(volume, config), atol=1e-6)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> nib.Nifti1Image:
    """Heart and liver on their sides, and a sharp mark in the left lung."""
    return nib.load(write_scan(tmp_path_factory.mktemp("phantom") / "scan.nii.gz"))


@pytest.mark.parametrize("name", RECIPES)
def test_all_orders_of_storage_give_the_same(name: str, phantom: nib.Nifti1Image, tmp_path: Path) -> None:
    """A file in each of 48 orders is one scan, and its mirror image another."""
    file = tmp_path / "scan.nii"
    expected = None
    for axes in ORDERS:
        turn = nib.orientations.ornt_transform(nib.io_orientation(phantom.affine), nib.orientations.axcodes2ornt(axes))
        nib.save(phantom.as_reoriented(turn), file)
        result = preprocess(read(file), RECIPES[name])
        expected = result if expected is None else expected
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("name", RECIPES)
def test_a_mirrored_chest_is_mirrored(name: str, phantom: nib.Nifti1Image, tmp_path: Path) -> None:
    """Situs inversus: the voxels are swapped from left to right, the geometry is not."""
    nib.save(phantom, tmp_path / "scan.nii")
    nib.save(nib.Nifti1Image(np.asarray(phantom.dataobj)[::-1], phantom.affine, phantom.header), tmp_path / "mirror.nii")
    recipe = RECIPES[name]
    scan, mirror = (view_as(preprocess(read(tmp_path / file), recipe), recipe.axes, ZXY) for file in ("scan.nii", "mirror.nii"))
    heart = scan[scan.shape[0] // 3 : scan.shape[0] * 2 // 3]
    right, left = np.array_split(heart, 2, axis=1)
    assert left.mean() > right.mean() + 10 / recipe.intensity_scale
    differences = np.abs(scan - mirror[:, ::-1])
    assert differences.mean() < np.abs(scan - mirror).mean() / 3
    if name != "merlin":  # whose grid begins at one side
        assert differences.max() * recipe.intensity_scale <= 1.001


def test_a_frame_of_air_changes_nothing_in_the_chest_chain(phantom: nib.Nifti1Image) -> None:
    array = np.asarray(phantom.dataobj)
    framed = np.pad(array, ((3, 9), (0, 4), (7, 1)), constant_values=-1024)
    recipe = RECIPES["astra-chest"]
    same = [preprocess(volume_of(scan, (3.0, 3.0, 4.0)), recipe) for scan in (array, framed)]
    np.testing.assert_array_equal(*same)


def test_air_alone_is_not_cropped() -> None:
    volume = volume_of(np.full((9, 8, 7), -1000, np.int16), (1.0, 1.0, 1.0))
    assert foreground_box(volume, ASTRA_CHEST) == (slice(0, 9), slice(0, 8), slice(0, 7))
    assert foreground_box(volume, COLIPRI) is None
    assert not preprocess(volume, ASTRA_CHEST).any()


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("corner", [(20, 30, 15), (90, 40, 60)])
def test_a_bright_box_lies_where_it_came_from(name: str, corner: tuple[int, int, int]) -> None:
    recipe = RECIPES[name]
    array = np.full((128, 112, 88), -1000, np.int16)
    array[5:120, 6:110, 3:80] = -900
    array[tuple(slice(first, first + 6) for first in corner)] = 200
    volume = volume_of(array, (1.25, 1.5, 2.0))
    view = view_as(preprocess(volume, recipe), recipe.axes, ZXY)
    assert view.shape == reorder(recipe.size, recipe.axes, ZXY)
    affine = input_affine(volume.array.shape, volume.spacing, recipe, foreground=foreground_box(volume, recipe))
    weights = np.maximum(view * recipe.intensity_scale + recipe.zero_hu + 800, 0).astype(np.float64)
    assert weights.any()
    z, x, y = (float((np.indices(view.shape)[axis] * weights).sum() / weights.sum()) for axis in range(3))
    scan_index = affine @ [x, y, z, 1]
    np.testing.assert_allclose(scan_index[:3], np.array(corner) + 2.5, atol=0.3)
    assert (np.diag(affine) > 0).all()
    assert np.count_nonzero(affine[:3, :3]) == 3


def test_the_least_of_the_scan_pads_although_it_is_cropped() -> None:
    """A scan without air, whose darkest voxel is beyond the crop."""
    array = np.full((20, 8, 40), 100, np.int16)
    array[:, :, 0] = -400
    recipe = replace(COLIPRI, fit=CropOrPad(size=(24, 4, 10), padding=None, odd_voxel="before"))
    result = preprocess(volume_of(array, (2.0, 2.0, 2.0)), recipe)
    np.testing.assert_allclose(result[2:22], 0.1, atol=1e-6)
    np.testing.assert_allclose(result[[0, 1, 22, 23]], -0.4, atol=1e-6)


def test_a_scan_too_large_for_an_input_of_its_own_size_is_refused() -> None:
    array = np.broadcast_to(np.int16(0), (1024, 1024, 640))
    with pytest.raises(GeometryInvalid, match="the scan's own voxels are 671,088,640, 536,870,912 is the limit"):
        preprocess(volume_of(array, (0.5, 0.5, 0.5)), SPECTRE)

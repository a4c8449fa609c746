from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.ct.sketches import PROVENANCE
from thoracle.ct.preprocess import PreprocessConfig, preprocess
from thoracle.ct.recipes.orientation import ZXY, view_as
from thoracle.ct.recipes.published import ASTRA_CHEST, MERLIN
from thoracle.ct.recipes.recipe import ResizeByArea
from thoracle.ct.recipes.run import foreground_box
from thoracle.ct.recipes.sampling import box_as_text
from thoracle.ct.volume import Volume
from thoracle.errors import InputError, ScanUnreadable
from thoracle.evaluation.explanation.masks import find_masks, read_mask, share_of_patches

CONFIG = PreprocessConfig(spacing=(2.0, 1.0, 1.0), size=(4, 8, 8))


def write(path: Path, mask: np.ndarray, affine: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(mask, affine), path)
    return path


def test_a_mask_lies_on_the_grid_of_the_models_input(tmp_path: Path) -> None:
    mask = np.zeros((8, 8, 4), np.int32)
    mask[5, 2, 1] = 1 << 3
    path = write(tmp_path / "m.nii.gz", mask, np.diag([-1.0, -1.0, 2.0, 1.0]))
    read = read_mask(path, CONFIG).bits_ZXY
    assert read.shape == CONFIG.size
    assert (np.argwhere(read) == [[1, 5, 2]]).all()
    mirrored = write(tmp_path / "n.nii.gz", mask[::-1], np.array([[1.0, 0, 0, -7], [0, -1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]))
    assert (read_mask(mirrored, CONFIG).bits_ZXY == read).all()
    fractions = share_of_patches(read, (2, 2, 2))
    assert fractions.shape == (18, 2, 2, 2)
    assert fractions[3, 0, 1, 0] == 1 / (2 * 4 * 4)
    assert fractions.sum() == fractions[3, 0, 1, 0]


def test_a_mask_lies_on_the_view_of_an_input_of_other_axes(tmp_path: Path) -> None:
    """Where the mask is, the scan of the same shape is bright."""
    recipe = replace(MERLIN, fit=replace(MERLIN.fit, size=(24, 20, 12)))
    mask = np.zeros((20, 30, 16), np.int16)
    mask[3:9, 12:20, 4:10] = 1
    path = write(tmp_path / "m.nii.gz", mask, np.diag([-1.5, -1.5, 3.0, 1.0]))
    volume = Volume(array=mask * np.int16(1000), spacing=(1.5, 1.5, 3.0), affine=np.eye(4), provenance=PROVENANCE)
    bright = view_as(preprocess(volume, recipe), recipe.axes, ZXY) > 0.75
    assert bright.any()
    np.testing.assert_array_equal(read_mask(path, recipe).bits_ZXY == 1, bright)


def test_a_mask_lies_on_an_input_that_is_cropped_to_the_foreground(tmp_path: Path) -> None:
    """Body from voxel 2 to 18 along x, 3 to 27 along y, 4 to 16 along z, resized to half as many samples: a patch of 8 voxels is one."""
    recipe = replace(ASTRA_CHEST, resampling=ResizeByArea(samples=(8, 12, 6)))
    body, mask = np.full((20, 30, 16), -1024, np.int16), np.zeros((20, 30, 16), np.int16)
    body[2:18, 3:27, 4:16], mask[4:8, 13:17, 6:10] = -900, 1
    path = write(tmp_path / "m.nii.gz", mask, np.diag([-1.5, -1.5, 3.0, 1.0]))
    volume = Volume(array=np.where(mask, 150, body).astype(np.int16), spacing=(1.5, 1.5, 3.0), affine=np.eye(4), provenance=PROVENANCE)
    bright = view_as(preprocess(volume, recipe), recipe.axes, ZXY) > 0.5
    assert bright.sum() == 8
    read = read_mask(path, recipe, foreground=box_as_text(foreground_box(volume, recipe)))
    np.testing.assert_array_equal(read.bits_ZXY == 1, bright)
    assert read.spacing == (6.0, 3.0, 3.0)
    with pytest.raises(InputError, match="which the cohort's manifest does not say"):
        read_mask(path, recipe)


@pytest.mark.parametrize(
    ("mask", "affine"),
    [
        (np.zeros((2, 2, 2), np.float32), np.eye(4)),
        (np.zeros((2, 2, 2, 2), np.int16), np.eye(4)),
        (np.zeros((2, 2, 2), np.int16), np.array([[1.0, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])),
    ],
)
def test_what_is_no_mask_is_refused(mask: np.ndarray, affine: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ScanUnreadable):
        read_mask(write(tmp_path / "m.nii.gz", mask, affine), CONFIG)


def test_masks_are_found_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="masks"):
        find_masks(tmp_path)
    path = write(tmp_path / "masks" / "a" / "v.nii.gz", np.zeros((2, 2, 2), np.int16), np.eye(4))
    assert find_masks(tmp_path) == {"v.nii.gz": path}

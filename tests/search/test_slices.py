from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.ct.pictures import decode_png
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.ct.recipes.orientation import ZXY, view_as
from thoracle.ct.recipes.published import ASTRA_CHEST, MERLIN
from thoracle.search.slices import contact_strip


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (1.5, 0.75, 0.75)])
def test_slices_hang_as_radiologists_hang_them(spacing: tuple[float, float, float]) -> None:
    volume = np.full((40, 60, 50), -1.0, np.float32)  # z, x, y: air, growing to superior, left, posterior
    volume[:, 50:, :] = 1.0  # bright on the patient's left
    volume[:, :, 45:] = 0.5  # and behind
    volume[36:] = 0.15  # and above, where no axial slice is taken
    strip = decode_png(contact_strip(volume, PreprocessConfig(spacing=spacing)))
    assert strip.shape == (96, 4 * 96)
    axial, coronal = strip[:, :96], strip[:, 288:]
    lit = np.argwhere(axial > 250)
    assert lit[:, 1].max() > 48, "the patient's left is on the right"
    assert axial[lit[:, 0].min() + 10, 30] < 100
    assert lit[:, 0].max() - lit[:, 0].min() > 60
    rows = np.argwhere(coronal == coronal.max())[:, 0]
    assert rows.min() < 48, "above is on top"


def test_inputs_of_other_axes_and_units_hang_alike() -> None:
    """The same HU as CT-CLIP, Merlin and Astra are given them."""
    hu = np.full((40, 60, 50), -1000.0, np.float32)
    hu[:, 50:, 10:30] = 100.0
    hu[25:, :20] = -600.0
    cubes = PreprocessConfig(spacing=(1.0, 1.0, 1.0))
    expected = contact_strip(hu / 1000, cubes)
    for recipe in (ASTRA_CHEST, replace(MERLIN, resampling=replace(MERLIN.resampling, spacing=(1.0, 1.0, 1.0)))):
        volume = view_as((hu - np.float32(recipe.zero_hu)) / np.float32(recipe.intensity_scale), ZXY, recipe.axes)
        difference = decode_png(contact_strip(volume, recipe)).astype(int) - decode_png(expected)
        assert np.abs(difference).max() <= 1

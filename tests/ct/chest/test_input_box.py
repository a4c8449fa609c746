"""A box in the scan's millimetres, in fractions of a model's input: by hand, and against the input's own voxels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.ct.sketches import PROVENANCE
from thoracle.ct.chest.chest_box import ChestBox
from thoracle.ct.chest.input_box import InputBox, input_box
from thoracle.ct.preprocess import PreprocessConfig, preprocess
from thoracle.ct.recipes.orientation import ZXY, view_as
from thoracle.ct.recipes.published import ASTRA_CHEST, COLIPRI, MERLIN
from thoracle.ct.recipes.recipe import Recipe
from thoracle.ct.volume import Volume

SIZE = (20, 40, 40)


def scan(box: tuple[slice, slice, slice], *, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    """Air with a block of water at voxels `box` (x, y, z)."""
    array = np.full(shape, -1000, np.int16)
    array[box] = 0
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-70.0, -30.0, 11.0)
    return Volume(array=array, spacing=spacing, affine=affine, provenance=PROVENANCE)


def test_fractions_by_hand() -> None:
    """40 voxels of 2 mm become 20 of 4 mm, centred among 40: the scan lies at 10 to 30 of x. Voxels 10 to 19 are at 5 to 10 of these."""
    volume = scan((slice(10, 20), slice(0, 40), slice(4, 12)), shape=(40, 40, 20), spacing=(2.0, 2.0, 4.0))
    low = tuple(np.array([-70.0, -30.0, 11.0]) + np.array([10, 0, 4]) * volume.spacing - np.asarray(volume.spacing) / 2)
    high = tuple(np.array([-70.0, -30.0, 11.0]) + np.array([20, 40, 12]) * volume.spacing - np.asarray(volume.spacing) / 2)
    box = input_box(ChestBox(low=low, high=high, encloses="lungs", cut=("top",)), volume, PreprocessConfig(spacing=(4, 4, 4), size=SIZE))
    assert box.low == pytest.approx((4 / 20, 15 / 40, 10 / 40))
    assert box.high == pytest.approx((12 / 20, 20 / 40, 30 / 40))
    assert (box.encloses, box.cut) == ("lungs", ("top",))


def test_the_box_encloses_the_same_voxels_of_the_input_as_of_the_scan() -> None:
    """Cropped along x, padded along z, odd spacings: where the input's block of water begins and ends, and nowhere else."""
    spacing = (1.7, 2.3, 3.1)
    volume = scan((slice(40, 71), slice(12, 33), slice(6, 17)), shape=(120, 60, 24), spacing=spacing)
    config = PreprocessConfig(spacing=(4, 4, 4), size=(30, 40, 40))
    edges = [np.asarray(volume.affine[:3, 3]) + (np.array(end) - 0.5) * spacing for end in ((40, 12, 6), (71, 33, 17))]
    box = input_box(ChestBox(low=tuple(edges[0]), high=tuple(edges[1]), encloses="lungs", cut=()), volume, config)
    water = preprocess(volume, config) > -0.5
    for axis in range(3):
        planes = np.flatnonzero(water.any(axis=tuple(other for other in range(3) if other != axis)))
        size = config.size[axis]
        assert box.low[axis] * size == pytest.approx(planes[0], abs=1)
        assert box.high[axis] * size == pytest.approx(planes[-1] + 1, abs=1)


@pytest.mark.parametrize("recipe", [COLIPRI, replace(COLIPRI, axes="SAR"), MERLIN, ASTRA_CHEST])
def test_the_box_of_an_input_of_other_axes(recipe: Recipe) -> None:
    """In fractions of the (z, x, y) view, and along the input's own axes; Astra's chain has cropped the air before."""
    spacing = (1.7, 2.3, 3.1)
    volume = scan((slice(40, 71), slice(12, 33), slice(6, 17)), shape=(120, 60, 24), spacing=spacing)
    volume.array[20:110, 5:50, 3:22] += 20
    edges = [np.asarray(volume.affine[:3, 3]) + (np.array(end) - 0.5) * spacing for end in ((40, 12, 6), (71, 33, 17))]
    box = input_box(ChestBox(low=tuple(edges[0]), high=tuple(edges[1]), encloses="lungs", cut=()), volume, recipe)
    water = preprocess(volume, recipe) > (-500 - recipe.zero_hu) / recipe.intensity_scale
    for box_of, mask in ((box, view_as(water, recipe.axes, ZXY)), (box.along(recipe.axes), water)):
        for axis in range(3):
            planes = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
            assert box_of.low[axis] * mask.shape[axis] == pytest.approx(planes[0], abs=1)
            assert box_of.high[axis] * mask.shape[axis] == pytest.approx(planes[-1] + 1, abs=1)


def test_a_cell_of_a_table_and_back() -> None:
    box = InputBox(low=(-0.0123, 0.25, 0.5), high=(1.1, 0.75, 0.875), encloses="lungs", cut=("bottom", "top"))
    assert box.as_text() == "lungs -0.0123 0.2500 0.5000 1.1000 0.7500 0.8750 bottom top"
    assert InputBox.from_text(box.as_text()) == box


@pytest.mark.parametrize("text", ["", "lungs", "lungs 0 0 0 1 1", "liver 0 0 0 1 1 1", "lungs 0 0 0 1 1 0", "lungs 0 0 0 1 1 1 middle"])
def test_what_is_no_box_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # of float, of unpacking, or ours
        InputBox.from_text(text)

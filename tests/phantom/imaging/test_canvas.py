from __future__ import annotations

import numpy as np
import pytest

from thoracle.phantom.anatomy.patient import sample_patient
from thoracle.phantom.anatomy.thorax import LOBES, Thorax
from thoracle.phantom.anatomy.tubes import path
from thoracle.phantom.imaging.canvas import Canvas
from thoracle.phantom.imaging.grid import VoxelGrid
from thoracle.types import ABNORMALITIES


@pytest.fixture
def canvas() -> Canvas:
    """Water in 20 x 20 x 20 voxels of 2 mm, centred on the canonical origin."""
    grid = VoxelGrid(shape=(20, 20, 20), spacing=(2.0,) * 3, origin=(-19.0,) * 3, scale=(1.0,) * 3, roll=0.0)
    hull, lung = np.ones(grid.shape, dtype=np.float32), np.ones(grid.shape, dtype=np.float32)
    thorax = Thorax(patient=sample_patient(np.random.default_rng(0)), heart=1.0)
    mask = np.zeros(grid.shape, dtype=np.uint32)
    return Canvas(grid=grid, thorax=thorax, hu=np.zeros(grid.shape, dtype=np.float32), hull=hull, lung=lung, mask=mask)


def test_a_tissue_is_mixed_in_by_its_fraction_of_a_voxel(canvas):
    """A quarter of bone (1000) in water (0) is 250; three quarters of air (-1000) in that are -687.5."""
    canvas.paint(np.float32(0.25), 1000.0)
    assert np.unique(canvas.hu).tolist() == [250]
    box = (slice(0, 2), slice(0, 20), slice(3, 5))
    canvas.paint(np.full((2, 20, 2), 0.75, dtype=np.float32), -1000.0, box)
    assert np.unique(canvas.hu[box]).tolist() == [-687.5]
    assert np.count_nonzero(canvas.hu != 250) == 2 * 20 * 2
    assert not canvas.mask.any(), "painting marks nothing"


def test_density_is_added_where_it_belongs(canvas):
    box = (slice(5, 6), slice(5, 6), slice(0, 20))
    canvas.add(np.full((1, 1, 20), -40, dtype=np.float32), box)
    canvas.add(np.full((1, 1, 20), 15, dtype=np.float32), box)
    assert np.unique(canvas.hu).tolist() == [-25, 0]
    assert np.unique(canvas.hu[box]).tolist() == [-25]


def test_a_mark_is_the_bit_of_its_abnormality_above_its_threshold_and_keeps_others(canvas):
    fraction = np.linspace(0, 1, 20, dtype=np.float32).reshape(20, 1, 1) * np.ones((20, 20, 20), dtype=np.float32)
    canvas.mark("Lung nodule", fraction)
    canvas.mark("Emphysema", fraction, above=0.7)
    for name, threshold in (("Lung nodule", 0.4), ("Emphysema", 0.7)):
        marked = (canvas.mask >> ABNORMALITIES.index(name) & 1).astype(bool)
        assert np.array_equal(marked, fraction > threshold), name
    canvas.mark("Emphysema", np.zeros_like(fraction))
    assert (canvas.mask >> ABNORMALITIES.index("Emphysema") & 1).any(), "a second part adds, it takes nothing away"
    assert not canvas.hu.any(), "marking paints nothing"


def test_painting_a_part_paints_the_canvas(canvas):
    box, part = canvas.around((10.0, 0.0, -10.0), 5.0)
    part.paint(np.float32(1), 77.0)
    part.lung[...] = 0
    part.mark("Consolidation", np.ones(part.grid.shape, dtype=np.float32))
    assert np.unique(canvas.hu[box]).tolist() == [77]
    x, y, z = np.broadcast_arrays(*canvas.grid.coordinates)
    painted = canvas.hu == 77
    assert painted[(np.abs(x - 10) <= 5) & (np.abs(y) <= 5) & (np.abs(z + 10) <= 5)].all(), "all within reach"
    assert not painted[(np.abs(x - 10) > 10) | (np.abs(y) > 10) | (np.abs(z + 10) > 10)].any(), "and hardly more"
    assert np.array_equal(canvas.lung == 0, painted)
    assert np.array_equal(canvas.mask == 1 << ABNORMALITIES.index("Consolidation"), painted)


def test_a_part_has_the_coordinates_of_its_voxels(canvas):
    box, part = canvas.around((10.0, 0.0, -10.0), 5.0)
    for axis, inner in zip(canvas.grid.coordinates, part.grid.coordinates, strict=True):
        assert np.array_equal(np.broadcast_to(axis, canvas.grid.shape)[box], np.broadcast_to(inner, part.grid.shape))


def test_confined_to_lobes_no_other_lung_is_there_and_it_comes_back(canvas):
    inside = canvas.thorax.lobe_index(*canvas.grid.coordinates) == LOBES.index("left upper lobe")
    assert 0 < inside.mean() < 1
    with canvas.confined(("left upper lobe",)):
        assert np.array_equal(canvas.hull, inside)
        assert np.array_equal(canvas.lung, inside)
        canvas.hull[...] *= 0.5
    assert np.array_equal(canvas.hull, np.where(inside, 0.5, 1))
    assert (canvas.lung == 1).all()


def test_what_lies_beside_the_picture_is_an_empty_part(canvas):
    box, part = canvas.around((500.0, 0.0, 0.0), 5.0)
    assert part.hu.size == canvas.hu[box].size == 0
    part.paint(np.float32(1), 77.0)
    assert not canvas.hu.any()


def test_a_tube_is_painted_where_it_lies_and_its_fractions_returned(canvas):
    box, fraction = canvas.tubes(path([(0, 0, -10, 5), (0, 0, 10, 5)]), 300.0)
    assert canvas.hu[box] == pytest.approx(300 * fraction)
    assert canvas.hu.max() == pytest.approx(300)
    assert canvas.hu.sum() * 8 / 300 == pytest.approx(np.pi * 25 * 20, rel=0.17)
    nowhere, nothing = canvas.tubes(path([(0, 0, 400, 5), (0, 0, 410, 5)]), 300.0)
    assert nothing.size == canvas.hu[nowhere].size == 0

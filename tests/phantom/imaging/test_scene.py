from __future__ import annotations

import numpy as np
import pytest

from thoracle.phantom.imaging import scene as module
from thoracle.phantom.imaging.grid import VoxelGrid
from thoracle.types import ABNORMALITIES


def test_a_scene_painted_in_slabs_is_the_same_chest(painted, monkeypatch):
    """Also where slabs meet: a tube gives a share to the slices on both sides of a seam."""
    whole = painted(1, *ABNORMALITIES)
    monkeypatch.setattr(module, "_SLAB", whole.grid.shape[0] * whole.grid.shape[1] * 9)
    hu, mask = module.paint(whole.scene, whole.grid)
    assert np.abs(hu - whole.hu).max() < 0.05
    assert (mask != whole.mask).mean() < 1e-6


#: Findings whose places are their anatomy's. Slow random fields belong to the scanner: emphysema, mosaic and septa, which are made of
#: them, keep their pattern, and rough edges keep their roughness.
_PLACED = ("Lung nodule", "Consolidation", "Atelectasis", "Pleural effusion", "Cardiomegaly", "Hiatal hernia", "Lymphadenopathy")
_THIN_OR_ROUGH = ("Pleural effusion", "Atelectasis", "Consolidation", "Lymphadenopathy")


def test_masks_and_lungs_move_with_a_chest_that_is_turned_raised_and_shifted(make_scene):
    """The chest as it lies aligned, read where the moved one lies, is the moved one: lungs, masks, and Hounsfield units under them."""
    scene = make_scene(1, *_PLACED)
    level = _grid(scene, roll=0.0, pitch=0.0, shift=(0, 0, 0))
    moved = _grid(scene, roll=np.radians(6), pitch=np.radians(7), shift=(18, -22, 15))
    hu, mask = module.paint(scene, level)
    moved_hu, moved_mask = module.paint(scene, moved)
    points = np.stack([axis.ravel() for axis in np.broadcast_arrays(*moved.coordinates)], axis=1)
    nearest = np.rint(level.indices(points)).astype(int)
    inside = ((nearest >= 0) & (nearest < level.shape)).all(axis=1)
    i, j, k = nearest[inside].T

    def dice(at_rest, at_place):
        a, b = at_rest[i, j, k], at_place.ravel()[inside]
        return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))

    assert dice(module.true_lungs(scene, level), module.true_lungs(scene, moved)) > 0.97
    for name in _PLACED:
        bit = np.uint32(1 << ABNORMALITIES.index(name))
        assert dice(mask & bit > 0, moved_mask & bit > 0) > (0.75 if name in _THIN_OR_ROUGH else 0.9), name
        if name not in _THIN_OR_ROUGH:
            assert np.median(moved_hu[moved_mask & bit > 0]) == pytest.approx(np.median(hu[mask & bit > 0]), abs=15), name


def _grid(scene, *, roll, pitch, shift):
    shape = (128, 120, 110)
    origin = tuple(-3.0 * (n - 1) / 2 + s for n, s in zip(shape, shift, strict=True))
    return VoxelGrid(shape=shape, spacing=(3.0,) * 3, origin=origin, scale=scene.thorax.patient.scale, roll=roll, pitch=pitch)

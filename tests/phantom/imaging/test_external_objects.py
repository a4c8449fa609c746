from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from thoracle.phantom.anatomy.thorax import Thorax
from thoracle.phantom.imaging.external_objects import _sample_raised_arms, sample_outside
from thoracle.phantom.imaging.grid import VoxelGrid
from thoracle.phantom.imaging.scene import paint


def test_everybody_lies_on_a_table_that_is_square_to_the_scanner(painted):
    for seed in range(6):
        picture = painted(seed)
        _, v, _ = picture.grid.axes
        back = picture.scene.thorax.skin_behind() * picture.grid.scale[1]
        columns = np.abs(picture.grid.axes[0]) < 60
        below = picture.hu[columns][:, v > back + 12]
        assert (below.max(axis=1) > -960).mean() > 0.95, "something under every column"
        assert np.ptp(np.percentile(below, 90, axis=(0, 1))) < 120, "the same in every slice"


def test_what_lies_around_has_no_mask_and_never_enters_the_body(painted):
    for seed in range(6):
        picture = painted(seed)
        assert not picture.mask.any()
        x, y, z = picture.grid.coordinates
        metal = (picture.hu > 1300) & (picture.scene.thorax.body(x, y, z) < -6)
        assert not metal.any()


def test_raised_arms_go_on_from_the_shoulders_beside_the_neck(make_scene):
    """Both have a bone in every slice above the shoulders, and nothing floats."""
    for seed in range(3):
        scene = make_scene(seed)
        bare = replace(scene, surroundings=())
        raised = replace(scene, surroundings=(_sample_raised_arms(np.random.default_rng(seed), (-1, 1)),))
        grid = VoxelGrid(shape=(130, 80, 70), spacing=(4.0,) * 3, origin=(-258.0, -158.0, -60.0), scale=(1.0,) * 3, roll=0.0)
        (without, _), (hu, _) = paint(bare, grid), paint(raised, grid)
        above = grid.axes[2] > 150
        bone = (hu - without > 250)[:, :, above]
        assert bone[grid.axes[0] < -100].any(axis=(0, 1)).all()
        assert bone[grid.axes[0] > 100].any(axis=(0, 1)).all()
        pieces, count = ndimage.label(hu > -300)
        assert count == 1 or np.sort(np.bincount(pieces.ravel())[1:])[-2] < 100, "a vessel in the lung is the largest thing apart"
        neck = np.count_nonzero(without[:, :, above] > -300, axis=(0, 1)) * 16
        assert neck[-1] < 0.35 * np.count_nonzero(without[:, :, grid.axes[2] < 120] > -300, axis=(0, 1)).max() * 16


def test_an_arm_that_lies_on_the_chest_is_not_raised(make_scene):
    """One in seven or so lays one or both forearms there; whatever lies around is drawn alike for who raises the others."""
    more = []
    for seed in range(60):
        thorax = make_scene(0).thorax
        raised = Thorax(patient=replace(thorax.patient, arms_raised=True), heart=1.0)
        numbers = [len(sample_outside(np.random.default_rng(seed), chest, finest=4.0)) for chest in (thorax, raised)]
        more.append(numbers[1] - numbers[0])
    assert set(more) == {0, 1}
    assert 2 <= more.count(0) <= 20

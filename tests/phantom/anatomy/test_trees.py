from __future__ import annotations

import numpy as np
import pytest

from thoracle.phantom.anatomy.thorax import LOBES
from thoracle.phantom.anatomy.trees import LungPoints


@pytest.fixture
def site(make_scene, seed):
    return make_scene(seed)


def test_branches_reach_every_lobe_and_become_thinner(site):
    for tree in (site.trees.arteries, site.trees.veins, site.trees.airways):
        assert set(tree.lobe) == set(range(len(LOBES)))
        sizes = [tree.tubes.first[tree.generation == g].mean() for g in range(7)]
        assert sizes == sorted(sizes, reverse=True)


def test_branches_continue_their_parents(site):
    tree = site.trees.airways
    ends = {tuple(np.round(e, 3)) for e in tree.tubes.end}
    later = tree.generation > 0
    assert all(tuple(np.round(s, 3)) in ends for s in tree.tubes.start[later])


def test_the_ends_fill_the_lungs(site):
    tree = site.trees.airways
    ends = tree.tubes.end[tree.generation == 6]
    inside = site.thorax.lung(ends[:, 0], ends[:, 1], ends[:, 2]) < 2
    assert inside.mean() > 0.93
    assert np.ptp(ends, axis=0) == pytest.approx([220, 130, 170], rel=0.35)


def test_a_point_that_nobody_fits_is_the_nearest_to_it():
    points = LungPoints(points=np.eye(3, dtype=np.float32), lobe=np.array([0, 1, 2]), depth=np.array([2.0, 5.0, 9.0], dtype=np.float32))
    rng = np.random.default_rng(0)
    assert list(points.pick(rng, depth=(20, 30))) == [0, 0, 1]
    assert list(points.pick(rng, lobes=(1,), depth=(20, 30))) == [0, 1, 0]

"""What resembles a finding is drawn for everybody alike, and marks nothing."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from thoracle.phantom.anatomy.tubes import path
from thoracle.phantom.findings.mediastinal import STATIONS
from thoracle.phantom.imaging import mimics
from thoracle.types import ABNORMALITIES


@cache
def _samples() -> list[list[mimics.Painter]]:
    return [mimics.sample_inside(np.random.default_rng([4, seed])) for seed in range(300)]


def _plain(painter) -> tuple:
    """What a painter was drawn with, comparable."""
    return painter.func.__name__, {name: np.asarray(part).tolist() for name, part in painter.keywords.items() if name != "tubes"}


def test_labels_do_not_reach_the_mimics(make_scene):
    for seed in range(6):
        healthy, sick = (make_scene(seed, *names).lookalikes for names in ((), ABNORMALITIES))
        assert [_plain(painter) for painter in sick] == [_plain(painter) for painter in healthy]


def test_people_differ_in_their_mimics_and_the_same_seed_draws_the_same():
    numbers = [len(sample) for sample in _samples()]
    assert min(numbers) <= 1
    assert max(numbers) == 6
    again = mimics.sample_inside(np.random.default_rng([4, 0]))
    assert [_plain(painter) for painter in again] == [_plain(painter) for painter in _samples()[0]]


def test_mimics_change_the_picture_and_mark_no_mask(chest):
    for sample in _samples()[:25]:
        for painter in sample:
            canvas = chest.copy()
            painter(canvas)
            assert not canvas.mask.any()
            assert (canvas.hu != chest.canvas.hu).any()


def _paint(chest, sampler, seed: int):
    canvas = chest.copy()
    painter = sampler(np.random.default_rng([5, seed]))
    painter(canvas)
    return painter, canvas, canvas.hu - chest.canvas.hu


@pytest.mark.parametrize("seed", range(4))
def test_small_nodes_are_of_normal_size_in_the_stations_of_large_ones(chest, seed):
    """The short axis of a normal node is below 10 mm."""
    painter, canvas, change = _paint(chest, mimics._small_nodes, seed)
    assert all(2 * min(radii) < 10 for radii in painter.keywords["shapes"])
    stations = np.array([station for _, station, _ in STATIONS])
    near = np.linalg.norm(painter.keywords["centres"][:, None] - stations, axis=2).min(axis=1)
    assert near.max() < 25
    assert canvas.hu[change > 1].max() < max(painter.keywords["fills"]) + 1, "soft tissue, no lime"


@pytest.mark.parametrize("seed", range(4))
def test_lime_and_bone_islands_are_bright_and_small(chest, seed):
    for sampler in (mimics._calcified_nodes, mimics._bone_islands, mimics._spurs):
        painter, _, change = _paint(chest, sampler, seed)
        assert min(painter.keywords["fills"]) > 300
        assert change.max() > 20, sampler.__name__
        number = len(painter.keywords["centres"])
        assert np.count_nonzero(change > 20) * 0.064 < 6 * number, "millilitres"


@pytest.mark.parametrize("seed", range(4))
def test_bone_islands_lie_in_vertebrae(chest, seed):
    _, canvas, change = _paint(chest, mimics._bone_islands, seed)
    x, y, _ = np.broadcast_arrays(*canvas.grid.coordinates)
    changed = np.abs(change) > 20
    assert (np.hypot(x, y - 66)[changed] < 26).all()


@pytest.mark.parametrize("seed", range(4))
def test_fat_pads_are_fat_in_the_place_of_lung_beside_the_heart(chest, seed):
    _, canvas, change = _paint(chest, mimics._fat_pads, seed)
    fat, fraction = canvas.thorax.patient.fat_hu, chest.canvas.hull - canvas.hull
    solid = (fraction > 0.99) & (chest.canvas.hull > 0.99)
    assert solid.any()
    assert canvas.hu[solid] == pytest.approx(fat, abs=12)
    assert not canvas.lung[solid].max() > 0.01, "no finding of the lung grows in them"
    heart = canvas.thorax.heart_surface(*canvas.grid.coordinates) < -4
    assert not change[heart].any(), "the heart stays as it is"


def test_rods_are_as_bright_as_they_are_filled(chest):
    canvas = chest.copy()
    mimics.paint_rods(canvas, tubes=path([(0, 66, -20, 6), (0, 66, 20, 6)]), fill=700.0)
    assert canvas.hu[canvas.hu != chest.canvas.hu].max() == pytest.approx(700, abs=5)
    assert not canvas.mask.any()

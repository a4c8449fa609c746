from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, distance_transform_edt

from thoracle.phantom.anatomy.soft_tissue import AORTA
from thoracle.phantom.anatomy.tubes import filled
from thoracle.phantom.findings.calcium import _CORONARIES, on_heart, sample_arterial, sample_coronary

_SAMPLERS = (sample_arterial, sample_coronary)


def _samples(sampler, site, count: int = 12):
    return [sampler(np.random.default_rng([23, seed]), site) for seed in range(count)]


def _coordinates(canvas, mask) -> np.ndarray:
    return np.stack([axis[mask] for axis in np.broadcast_arrays(*canvas.grid.coordinates)], axis=1)


@pytest.mark.parametrize("sampler", _SAMPLERS)
def test_lime_is_bright_and_changes_its_mask_alone(sampler, chest):
    for finding in _samples(sampler, chest.site):
        canvas, mask, change = chest.painted(finding)
        assert np.abs(change[~binary_dilation(mask, iterations=2)]).max() < 60
        assert 130 < canvas.hu[mask].max() < 1000, "above the threshold of a calcium score, below metal"
        assert (change[mask] > 0).mean() > 0.95


@pytest.mark.parametrize("sampler", _SAMPLERS)
def test_the_same_seed_draws_the_same_lime(sampler, chest):
    pictures = [chest.painted(sampler(np.random.default_rng(seed), chest.site))[0].hu for seed in (5, 5, 6)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_aortic_lime_lies_on_the_wall_of_the_aorta(chest):
    """Within a voxel of the wall: neither in the middle of the lumen nor out in the lung."""
    box, inside = filled(chest.canvas.grid, AORTA)
    aorta = np.zeros(chest.canvas.grid.shape, dtype=bool)
    aorta[box] = inside > 0.5
    outwards, inwards = distance_transform_edt(~aorta) * 4, distance_transform_edt(aorta) * 4
    for finding in _samples(sample_arterial, chest.site):
        _, mask, _ = chest.painted(finding)
        assert np.maximum(outwards, 0)[mask].max() <= 12
        assert np.mean(outwards[mask] <= 8) > 0.9
        assert np.median(np.where(aorta, inwards, outwards)[mask]) <= 8


def test_most_aortic_lime_is_in_arch_and_descending_aorta(chest):
    points = np.concatenate([_coordinates(*chest.painted(f)[:2]) for f in _samples(sample_arterial, chest.site)])
    ascending = (points[:, 1] < -10) & (points[:, 2] < 35)
    assert 0 < ascending.mean() < 0.25


def test_severe_lime_is_more_lime(chest):
    for sampler in _SAMPLERS:
        volumes = {"mild": [], "severe": []}
        for finding in _samples(sampler, chest.site, 40):
            if finding.severity in volumes:
                volumes[finding.severity].append(np.count_nonzero(chest.painted(finding)[1]))
        assert np.mean(volumes["severe"]) > 1.3 * np.mean(volumes["mild"]), sampler.__name__


def test_coronary_lime_lies_along_the_arteries_that_are_named(chest):
    """Each artery of `kind` has lime within 10 mm of its course on the heart, and no lime is farther from all of them."""
    for finding in _samples(sample_coronary, chest.site, 20):
        canvas, mask, _ = chest.painted(finding)
        points = _coordinates(canvas, mask)
        names = finding.kind.split(", ")
        away = np.stack([_from_artery(chest.site.thorax, name, points) for name in names])
        assert away.min(axis=0).max() < 14
        assert away.min(axis=1).max() < 10, names
        assert set(names) <= set(_CORONARIES)


def _from_artery(thorax, name: str, points: np.ndarray) -> np.ndarray:
    """Distance (n,) of points to an artery's course on this person's heart, mm."""
    stations = on_heart(thorax, np.array(_CORONARIES[name], dtype=np.float32))
    course = np.concatenate([a + (b - a) * np.linspace(0, 1, 40)[:, None] for a, b in pairwise(stations)])
    course = on_heart(thorax, course.astype(np.float32))
    return np.linalg.norm(points[:, None] - course[None], axis=2).min(axis=1)


@pytest.mark.parametrize("above", [1.0, -6.0, 5.0])
def test_points_are_put_as_far_above_the_heart_as_asked(above, make_site):
    for seed in range(4):
        thorax = make_site(seed).thorax
        points = on_heart(thorax, np.concatenate([np.array(course, dtype=np.float32) for course in _CORONARIES.values()]), above=above)
        assert thorax.heart_surface(*points.T) == pytest.approx(above, abs=0.6)


def test_coronary_lime_lies_on_the_heart_and_aortic_lime_does_not(seed, painted):
    for name, near in (("Coronary artery wall calcification", True), ("Arterial wall calcification", False)):
        picture = painted(seed, name)
        away = np.abs(picture.scene.thorax.heart_surface(*_coordinates(picture, picture.of(name)).T))
        assert (np.median(away) < 8) == near

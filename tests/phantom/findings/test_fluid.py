from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from thoracle.phantom.findings.fluid import sample_pericardial_effusion, sample_pleural_effusion

_SAMPLERS = (sample_pleural_effusion, sample_pericardial_effusion)


def _samples(sampler, site, count: int = 12):
    return [sampler(np.random.default_rng([27, seed]), site) for seed in range(count)]


def _coordinates(canvas, mask) -> np.ndarray:
    return np.stack([axis[mask] for axis in np.broadcast_arrays(*canvas.grid.coordinates)], axis=1)


@pytest.mark.parametrize("sampler", _SAMPLERS)
def test_fluid_has_the_density_of_fluid_inside_its_mask(sampler, chest):
    """Transudate and exudate: -15 to 35 HU where a voxel is fluid alone."""
    for finding in _samples(sampler, chest.site):
        canvas, mask, change = chest.painted(finding)
        assert np.abs(change[binary_dilation(mask, iterations=2)]).sum() > 0.97 * np.abs(change).sum()
        filled = (chest.canvas.hull > 0.99) & (canvas.hull < 0.01)
        assert filled.any()
        assert (canvas.hu[filled] > -15).all()
        assert (canvas.hu[filled] < 35).all()


@pytest.mark.parametrize("sampler", _SAMPLERS)
def test_where_fluid_is_no_lung_is_left_for_other_findings(sampler, chest):
    for finding in _samples(sampler, chest.site):
        canvas, mask, _ = chest.painted(finding)
        assert canvas.hull[mask].max() < 0.9
        assert canvas.lung[mask].max() < 0.9
        taken = chest.canvas.hull - canvas.hull
        assert (taken >= 0).all()
        assert not taken[~binary_dilation(mask, iterations=3)].max() > 0.45


@pytest.mark.parametrize("sampler", _SAMPLERS)
def test_the_same_seed_draws_the_same_effusion(sampler, chest):
    pictures = [chest.painted(sampler(np.random.default_rng(seed), chest.site))[0].hu for seed in (5, 5, 6)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_pleural_effusion_is_on_the_reported_sides(chest):
    sides = set()
    for finding in _samples(sample_pleural_effusion, chest.site, 24):
        canvas, mask, _ = chest.painted(finding)
        x = _coordinates(canvas, mask)[:, 0]
        assert ((x < 0).any(), (x > 0).any()) == {"right": (True, False), "left": (False, True), "bilateral": (True, True)}[finding.side]
        sides.add(finding.side)
    assert sides == {"right", "left", "bilateral"}


def test_pleural_effusion_lies_in_the_dependent_pleura_and_touches_the_wall(chest):
    for finding in _samples(sample_pleural_effusion, chest.site):
        canvas, mask, _ = chest.painted(finding)
        points = _coordinates(canvas, mask)
        assert np.mean(points[:, 1] > 0) > 0.9
        assert points[:, 2].mean() < 0
        assert np.max(canvas.thorax.cavity(*points.T)) > -6


def test_effusions_are_as_deep_as_reported(chest):
    """The deepest fluid from the chest wall, or from the heart, is about `size_mm`."""
    scale = np.mean(chest.site.thorax.patient.scale)
    for finding in _samples(sample_pleural_effusion, chest.site):
        canvas, mask, _ = chest.painted(finding)
        deepest = -canvas.thorax.cavity(*_coordinates(canvas, mask).T).min() * scale
        assert deepest == pytest.approx(finding.size_mm, abs=0.2 * finding.size_mm + 5)
    for finding in _samples(sample_pericardial_effusion, chest.site):
        canvas, mask, _ = chest.painted(finding)
        deepest = np.percentile(canvas.thorax.heart_surface(*_coordinates(canvas, mask).T), 99) * scale
        assert deepest == pytest.approx(finding.size_mm, abs=0.2 * finding.size_mm + 4)


def test_pericardial_effusion_coats_the_heart(seed, painted):
    picture = painted(seed, "Pericardial effusion")
    away = picture.scene.thorax.heart_surface(*_coordinates(picture, picture.of("Pericardial effusion")).T)
    assert np.mean((away > -3) & (away < 28)) > 0.97


def test_severe_effusions_are_larger(chest):
    for sampler in _SAMPLERS:
        volumes = {"mild": [], "severe": []}
        for finding in _samples(sampler, chest.site, 40):
            if finding.severity in volumes:
                volumes[finding.severity].append(np.count_nonzero(chest.painted(finding)[1]))
        assert np.mean(volumes["severe"]) > 1.5 * np.mean(volumes["mild"]), sampler.__name__

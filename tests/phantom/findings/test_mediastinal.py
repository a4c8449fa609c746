from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from thoracle.phantom.findings.mediastinal import (
    STATIONS,
    enlarged_heart,
    sample_cardiomegaly,
    sample_hernia,
    sample_lymphadenopathy,
)

_GROWING = (sample_hernia, sample_lymphadenopathy)


def _samples(sampler, site, count: int = 12):
    return [sampler(np.random.default_rng([28, seed]), site) for seed in range(count)]


def _coordinates(canvas, mask) -> np.ndarray:
    return np.stack([axis[mask] for axis in np.broadcast_arrays(*canvas.grid.coordinates)], axis=1)


@pytest.mark.parametrize("sampler", _GROWING)
def test_voxels_change_inside_the_mask_up_to_an_edge(sampler, chest):
    for finding in _samples(sampler, chest.site):
        _, mask, change = chest.painted(finding)
        assert mask.any()
        assert np.abs(change[binary_dilation(mask, iterations=2)]).sum() > 0.99 * np.abs(change).sum()


@pytest.mark.parametrize("sampler", _GROWING)
def test_the_same_seed_draws_the_same_finding(sampler, chest):
    pictures = [chest.painted(sampler(np.random.default_rng(seed), chest.site))[0].hu for seed in (5, 5, 6)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_a_heart_is_large_beyond_the_largest_healthy_one(make_scene):
    sizes = [enlarged_heart(np.random.default_rng(seed)) for seed in range(200)]
    healthy = [make_scene(seed).thorax.heart for seed in range(20)]
    assert max(healthy) <= 1.04 < 1.17 <= min(sizes)
    assert np.ptp(sizes) > 0.2


def test_cardiomegaly_is_a_larger_heart_and_its_mask_is_the_heart(seed, painted):
    large, plain = painted(seed, "Cardiomegaly"), painted(seed)
    assert large.scene.thorax.heart > 1.1 * plain.scene.thorax.heart
    x, y, z = large.grid.coordinates
    surface, mask = large.scene.thorax.heart_surface(x, y, z), large.of("Cardiomegaly")
    assert mask[surface < -3].all()
    assert not mask[surface > 3].any()


def test_cardiomegaly_is_as_wide_as_reported_and_as_severe_as_the_heart_is_large(make_scene):
    hearts = {}
    for seed in range(30):
        scene = make_scene(seed, "Cardiomegaly")
        (finding,) = scene.findings
        hearts.setdefault(finding.severity, []).append(scene.thorax.heart)
        x, away = np.arange(-120, 140, dtype=np.float32), np.arange(-90, 90, 3, dtype=np.float32)
        inside = scene.thorax.heart_surface(x[:, None, None], away[None, :, None] - 20, away[None, None, :] - 50) < 0
        width = np.ptp(x[inside.any(axis=(1, 2))]) * np.mean(scene.thorax.patient.scale)
        assert width == pytest.approx(finding.size_mm, abs=2.5)
    assert max(hearts["mild"]) <= min(hearts["moderate"])
    assert max(hearts["moderate"]) <= min(hearts["severe"])


def test_painting_cardiomegaly_marks_and_paints_nothing(chest):
    """The heart is painted large already, with everything that touches it."""
    finding = sample_cardiomegaly(np.random.default_rng(0), chest.site)
    _, mask, change = chest.painted(finding)
    assert mask.any()
    assert not change.any()


def test_a_hernia_is_stomach_behind_the_heart_above_the_diaphragm(chest):
    for finding in _samples(sample_hernia, chest.site):
        canvas, mask, _ = chest.painted(finding)
        x, y, z = _coordinates(canvas, mask).mean(axis=0)
        assert -15 < x < 40
        assert 0 < y < 60
        assert -120 < z < -40
        assert canvas.hu[mask].min() < -500 or finding.kind == "fat" or finding.painter.keywords["level"] < -0.3


def test_a_hernia_of_fat_is_fat_and_others_hold_fluid_under_air(chest):
    findings = _samples(sample_hernia, chest.site, 40)
    assert {finding.kind for finding in findings} == {"fat", "sliding"}
    for finding in findings:
        canvas, mask, _ = chest.painted(finding)
        inner = mask & ~binary_dilation(~mask, iterations=2)
        if finding.kind == "fat" and inner.any():
            assert np.median(canvas.hu[inner]) == pytest.approx(canvas.thorax.patient.fat_hu, abs=15)
        elif inner.any():
            y = np.broadcast_to(canvas.grid.coordinates[1], mask.shape)
            air, fluid = inner & (canvas.hu < -700), inner & (canvas.hu > -30)
            assert fluid.any()
            assert not air.any() or y[air].mean() < y[fluid].mean(), "air rises: the patient lies on the back"


def test_enlarged_nodes_have_a_short_axis_of_more_than_10_mm_and_soft_tissue(chest):
    scale = np.mean(chest.site.thorax.patient.scale)
    for finding in _samples(sample_lymphadenopathy, chest.site):
        canvas, mask, _ = chest.painted(finding)
        assert 2 <= finding.number <= 7
        assert finding.size_mm >= 10
        assert all(2 * radii.min() * scale > 9 for radii in finding.painter.keywords["shapes"])
        assert 10 < np.median(canvas.hu[mask]) < 80


def test_nodes_lie_in_the_stations_that_are_named(chest):
    """Each node is nearest to a station of its name; each name has a node."""
    for finding in _samples(sample_lymphadenopathy, chest.site, 30):
        centres = np.array(finding.painter.keywords["centres"])
        names, stations = [name for name, _, _ in STATIONS], np.array([station for _, station, _ in STATIONS])
        stray = np.array([stray for _, _, stray in STATIONS])
        reported = finding.kind.split(", ")
        near = np.linalg.norm(centres[:, None] - stations, axis=2) / stray
        allowed = np.isin(names, reported)
        assert (near[:, allowed].min(axis=1) < 5).all()
        for name in reported:
            assert near[:, np.isin(names, [name])].min() < 5, name


def test_axillary_nodes_lie_in_the_armpits(chest):
    for finding in _samples(sample_lymphadenopathy, chest.site, 60):
        if finding.kind == "axillary":
            canvas, mask, _ = chest.painted(finding)
            assert np.abs(_coordinates(canvas, mask)[:, 0]).min() > 100

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from thoracle.phantom.anatomy.thorax import LOBES
from thoracle.phantom.findings.diffuse import sample_emphysema, sample_fibrosis, sample_mosaic, sample_septal

_SAMPLERS = (sample_emphysema, sample_mosaic, sample_septal, sample_fibrosis)


def _samples(sampler, site, count: int = 10):
    return [sampler(np.random.default_rng([26, seed]), site) for seed in range(count)]


@pytest.mark.parametrize("sampler", _SAMPLERS)
def test_the_lung_alone_changes(sampler, chest):
    outside = chest.canvas.hull == 0
    for finding in _samples(sampler, chest.site):
        _, mask, change = chest.painted(finding)
        assert not change[outside].any()
        assert not mask[outside].any()
        assert np.abs(change[mask]).mean() > 4 * np.abs(change[(chest.canvas.hull > 0) & ~mask]).mean() or sampler is sample_mosaic


@pytest.mark.parametrize("sampler", _SAMPLERS)
def test_the_same_seed_draws_the_same_finding(sampler, chest):
    pictures = [chest.painted(sampler(np.random.default_rng(seed), chest.site))[0].hu for seed in (5, 5, 6)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_emphysema_is_darker_than_lung_never_darker_than_air(chest):
    """Low attenuation areas are those below -950 HU, in who has a lung of -900."""
    for finding in _samples(sample_emphysema, chest.site):
        canvas, mask, change = chest.painted(finding)
        assert np.mean(change[mask] < 0) > 0.85, "but for the rims of bullae"
        assert np.median(canvas.hu[mask]) < -935
        assert canvas.hu.min() >= -1000
        assert finding.kind in ("centrilobular", "paraseptal")
        assert (finding.size_mm is None) == (finding.kind == "centrilobular")


def test_emphysema_is_in_the_upper_lobes_of_both_lungs_as_reported(chest):
    lobes = chest.canvas.thorax.lobe_index(*chest.canvas.grid.coordinates)
    for finding in _samples(sample_emphysema, chest.site):
        _, mask, _ = chest.painted(finding)
        assert finding.lobes == ("right upper lobe", "left upper lobe")
        assert set(np.unique(lobes[mask])) == {0, 3}


def test_bullae_are_black_with_a_rim(chest):
    paraseptal = [finding for finding in _samples(sample_emphysema, chest.site, 30) if finding.kind == "paraseptal"]
    for finding in paraseptal:
        canvas, _, _ = chest.painted(finding)
        centre, radius = max(finding.painter.keywords["bullae"], key=lambda bulla: bulla[1])
        distance = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(canvas.grid.coordinates, centre, strict=True)))
        inner = (distance < radius - 5) & (canvas.hull > 0.99)
        assert np.percentile(canvas.hu[inner], 95) < -970
        assert finding.size_mm == round(chest.site.millimetres(2 * radius))


def test_mosaic_is_as_much_brighter_as_darker_and_marks_what_is_dark(chest):
    lung = chest.canvas.lung > 0.99
    means = []
    for finding in _samples(sample_mosaic, chest.site):
        _, mask, change = chest.painted(finding)
        means.append(change[lung].mean())
        assert change[mask].max() < 0
        assert 36 * 0.8 < np.percentile(np.abs(change[lung]), 90) <= 61
        assert 0.3 < mask[lung].mean() < 0.7
    assert np.abs(means).max() < 18
    assert abs(np.mean(means)) < 6


def test_septa_are_lines_under_the_pleura_denser_than_lung(chest):
    x, y, z = np.broadcast_arrays(*chest.canvas.grid.coordinates)
    depth = -chest.canvas.thorax.lung_without_heart(x, y, z, chest.canvas.thorax.cavity(x, y, z))
    for finding in _samples(sample_septal, chest.site):
        canvas, mask, change = chest.painted(finding)
        assert depth[mask].max() < 30
        assert (change[mask] > 0).mean() > 0.98
        assert canvas.hu[mask].max() < 100
        base = finding.lobes == ("right lower lobe", "left lower lobe")
        assert base or finding.lobes == ("right upper lobe", "left upper lobe")
        assert (z[mask].mean() < z[chest.canvas.hull > 0.5].mean()) == base, "where the report has most of them"


def test_scars_are_strands_at_their_centres_that_draw_no_air(chest):
    for finding in _samples(sample_fibrosis, chest.site, 20):
        canvas, mask, change = chest.painted(finding)
        assert np.mean(change[mask] > 0) > 0.9
        assert -350 < np.median(canvas.hu[mask]) < 120
        indices = np.rint(canvas.grid.indices(np.array([finding.centre], dtype=np.float32))[0]).astype(int)
        around = tuple(slice(max(0, i - 8), i + 9) for i in indices)
        assert mask[around].any(), "within 32 mm"


def test_apical_scars_lie_at_the_apices(chest):
    apical = [finding for finding in _samples(sample_fibrosis, chest.site, 30) if finding.kind == "apical"]
    assert 8 < len(apical) < 28
    z = np.broadcast_to(chest.canvas.grid.coordinates[2], chest.canvas.grid.shape)
    for finding in apical:
        _, mask, _ = chest.painted(finding)
        assert z[mask].min() > 20
        assert set(finding.lobes) <= {LOBES[0], LOBES[3]}


def test_only_the_mask_and_its_edge_hold_scars(chest):
    for finding in _samples(sample_fibrosis, chest.site):
        _, mask, change = chest.painted(finding)
        assert np.abs(change[binary_dilation(mask, iterations=2)]).sum() > 0.97 * np.abs(change).sum()

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from thoracle.phantom.anatomy.thorax import LOBES
from thoracle.phantom.anatomy.tubes import filled
from thoracle.phantom.findings.airways import sample_bronchiectasis, sample_peribronchial

_SAMPLERS = (sample_bronchiectasis, sample_peribronchial)


def _samples(sampler, site, count: int = 12):
    return [sampler(np.random.default_rng([22, seed]), site) for seed in range(count)]


@pytest.mark.parametrize("sampler", _SAMPLERS)
def test_voxels_change_inside_the_mask_up_to_an_edge(sampler, chest):
    for finding in _samples(sampler, chest.site):
        _, mask, change = chest.painted(finding)
        assert np.abs(change[binary_dilation(mask, iterations=2)]).sum() > 0.99 * np.abs(change).sum()
        assert np.abs(change[mask]).mean() > 100


@pytest.mark.parametrize("sampler", _SAMPLERS)
def test_the_same_seed_draws_the_same_finding(sampler, chest):
    pictures = [chest.painted(sampler(np.random.default_rng(seed), chest.site))[0].hu for seed in (5, 5, 6)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


@pytest.mark.parametrize("sampler", _SAMPLERS)
def test_masks_follow_the_airways_of_the_reported_lobes(sampler, chest):
    """Every marked voxel is within a wide bronchus and its wall (7 mm) of an airway that runs to a reported lobe."""
    airways = chest.site.trees.airways
    for finding in _samples(sampler, chest.site):
        _, mask, _ = chest.painted(finding)
        indices = [LOBES.index(lobe) for lobe in finding.lobes] or list(range(5))
        tubes = airways.tubes.chosen(np.isin(airways.lobe, indices))
        box, reach = filled(chest.canvas.grid, tubes.resized(0.0, plus=7.0))
        near = np.zeros(mask.shape, dtype=bool)
        near[box] = reach > 0
        assert not (mask & ~near).any()


def test_wide_bronchi_are_air_in_a_wall(chest):
    """Their lumen is darker than lung, their wall denser: both are in the mask."""
    for finding in _samples(sample_bronchiectasis, chest.site):
        _, mask, change = chest.painted(finding)
        assert change[mask].max() > 250
        assert change[mask].min() < -20
    darkest = [chest.painted(f)[0].hu[chest.painted(f)[1]].min() for f in _samples(sample_bronchiectasis, chest.site, 4)]
    assert max(darkest) < -880


def test_bronchiectasis_is_as_wide_as_reported(chest):
    """Severe ones are wider: the lumen is `size_mm` across, about, and beaded."""
    for finding in _samples(sample_bronchiectasis, chest.site, 20):
        radii = finding.painter.keywords["tubes"].first
        diameter = 2 * float(np.mean(radii)) * np.mean(chest.site.thorax.patient.scale)
        assert diameter == pytest.approx(finding.size_mm, rel=0.15)
        assert radii.std() > 0.05 * radii.mean()
        assert (finding.kind == "cystic") >= (finding.severity == "severe")


def test_cuffs_are_thick_walls_around_an_open_lumen(chest):
    for finding in _samples(sample_peribronchial, chest.site):
        _, mask, change = chest.painted(finding)
        assert finding.side == "bilateral"
        assert np.mean(change[mask] > 10) > 0.7
        lumen = (chest.canvas.hu < -960) & (chest.canvas.lung < 0.05) & (chest.canvas.hull > 0.5)
        if lumen.any():
            assert np.median(change[lumen]) < 60, "what was open stays so"


def test_severe_cuffs_are_thicker(chest):
    volumes = {"mild": [], "severe": []}
    for finding in _samples(sample_peribronchial, chest.site, 60):
        if finding.severity in volumes and not finding.lobes:
            volumes[finding.severity].append(np.count_nonzero(chest.painted(finding)[1]))
    assert np.mean(volumes["severe"]) > 1.15 * np.mean(volumes["mild"])

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, label

from thoracle.phantom.anatomy.thorax import LOBES
from thoracle.phantom.findings.airspace import sample_atelectasis, sample_consolidation, sample_nodule, sample_opacity
from thoracle.phantom.findings.finding import lobes_of, side_of

_SAMPLERS = (sample_nodule, sample_opacity, sample_consolidation, sample_atelectasis)


def _samples(sampler, site, count: int = 12):
    return [sampler(np.random.default_rng([21, seed]), site) for seed in range(count)]


def _solid_hu(chest, findings) -> np.ndarray:
    """HU of the voxels of masks whose neighbours are of them too: free of partial volume."""
    pictures = [chest.painted(finding)[:2] for finding in findings]
    return np.concatenate([canvas.hu[mask & ~binary_dilation(~mask)] for canvas, mask in pictures])


@pytest.mark.parametrize("sampler", _SAMPLERS)
def test_voxels_change_inside_the_mask_up_to_an_edge(sampler, chest):
    for finding in _samples(sampler, chest.site):
        _, mask, change = chest.painted(finding)
        near = binary_dilation(mask, iterations=2)
        assert np.abs(change[near]).sum() > 0.97 * np.abs(change).sum()
        assert np.abs(change[mask]).mean() > 60


@pytest.mark.parametrize("sampler", _SAMPLERS)
def test_the_same_seed_draws_the_same_finding(sampler, chest):
    first, again, another = (sampler(np.random.default_rng(seed), chest.site) for seed in (5, 5, 6))
    pictures = [chest.painted(finding)[0].hu for finding in (first, again, another)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])
    assert (first.severity, first.lobes, first.size_mm, first.centre) == (again.severity, again.lobes, again.size_mm, again.centre)


@pytest.mark.parametrize("sampler", _SAMPLERS)
def test_airspace_findings_leave_everything_outside_the_pleura_as_it_is(sampler, chest):
    outside = chest.canvas.hull == 0
    for finding in _samples(sampler, chest.site):
        _, mask, change = chest.painted(finding)
        assert not change[outside].any()
        assert not mask[outside].any()


def test_nodules_are_soft_tissue_or_lime_and_as_large_as_reported(chest):
    """The mask of a lone nodule has about the volume of a ball of its size; a mass would be over 30 mm."""
    lone = [finding for finding in _samples(sample_nodule, chest.site, 80) if finding.number == 1][:12]
    ratios = []
    for finding in lone:
        _, mask, _ = chest.painted(finding)
        assert label(mask)[1] == 1
        diameter = (6 / np.pi * np.count_nonzero(mask) * 64) ** (1 / 3)
        ratios.append(diameter / finding.size_mm)
        assert finding.size_mm <= 36
    assert np.median(ratios) == pytest.approx(1.0, abs=0.2)
    assert -60 < np.median(_solid_hu(chest, lone)) < 420


def test_a_nodule_lies_at_its_centre(chest):
    for finding in _samples(sample_nodule, chest.site):
        canvas, mask, _ = chest.painted(finding)
        i, j, k = np.rint(canvas.grid.indices(np.array([finding.centre], dtype=np.float32))[0]).astype(int)
        assert mask[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2].any()


def test_ground_glass_is_haze_through_which_vessels_are_seen(chest):
    """Denser than lung, less dense than tissue, and no voxel that was tissue is changed."""
    for finding in _samples(sample_opacity, chest.site):
        canvas, mask, change = chest.painted(finding)
        assert (change >= 0).all()
        assert -800 < np.median(canvas.hu[mask]) < -350
        assert 80 < np.median(change[mask]) < 340
        assert not change[chest.canvas.hu > -120].any()


def test_consolidation_is_dense_and_leaves_airways_open(chest):
    findings = _samples(sample_consolidation, chest.site)
    assert -80 < np.median(_solid_hu(chest, findings)) < 75
    airways = (chest.canvas.hull > 0.99) & (chest.canvas.lung < 0.02) & (chest.canvas.hu < -900)
    assert airways.any()
    for finding in findings:
        _, _, change = chest.painted(finding)
        assert np.abs(change[airways]).max() < 25, "air bronchograms"


def test_consolidation_stays_in_its_lobe(chest):
    """A fissure is a wall to it."""
    lobes = chest.canvas.thorax.lobe_index(*chest.canvas.grid.coordinates)
    names = set()
    for finding in _samples(sample_consolidation, chest.site, 20):
        _, mask, _ = chest.painted(finding)
        (lobe,) = finding.lobes
        names.add(lobe)
        assert set(np.unique(lobes[mask])) == {LOBES.index(lobe)}
    assert len(names) >= 4


def test_atelectases_are_thin_plates_or_wedges_behind(chest):
    depths = {}
    for finding in _samples(sample_atelectasis, chest.site, 24):
        canvas, mask, _ = chest.painted(finding)
        _, y, z = np.broadcast_arrays(*canvas.grid.coordinates)
        assert finding.kind in ("linear", "passive")
        assert (finding.size_mm is None) == (finding.kind == "passive")
        assert -250 < np.median(canvas.hu[mask]) < 80
        depths.setdefault(finding.kind, []).append((y[mask].mean(), z[mask].mean()))
    assert all(y > 25 and z < -20 for y, z in depths["passive"]), "the lung that lies deepest"
    assert len(depths["linear"]) > 4


def test_sizes_are_millimetres_of_the_person(chest):
    """Plates are some millimetres thick, opacities and consolidations some centimetres wide."""
    sizes = {sampler: [f.size_mm for f in _samples(sampler, chest.site, 40) if f.size_mm is not None] for sampler in _SAMPLERS}
    for sampler, (low, high) in zip(_SAMPLERS, ((8, 36), (20, 150), (30, 150), (3, 14)), strict=True):
        assert low < min(sizes[sampler]) < max(sizes[sampler]) < high, sampler.__name__


def test_centres_lie_in_the_reported_lobes_and_sides(chest):
    """A wedge of both lower lobes, or of one, has no point that is its centre."""
    for sampler in _SAMPLERS:
        for finding in _samples(sampler, chest.site, 30):
            assert (finding.centre is None) == (finding.kind == "passive")
            if finding.centre is not None:
                assert set(lobes_of(chest.site.thorax, np.array([finding.centre], dtype=np.float32))) <= set(finding.lobes)
            assert finding.side == side_of(finding.lobes)


def test_wedges_are_of_the_lower_lobes(chest):
    """They lie behind and low: a collapsed middle or upper lobe would lie elsewhere."""
    passive = [finding for finding in _samples(sample_atelectasis, chest.site, 60) if finding.kind == "passive"]
    assert len(passive) > 10
    assert {lobe for finding in passive for lobe in finding.lobes} == {"right lower lobe", "left lower lobe"}


@pytest.mark.parametrize("sampler", _SAMPLERS)
def test_masks_fill_part_of_each_reported_lobe_and_nothing_else(sampler, chest):
    lobes = chest.canvas.thorax.lobe_index(*chest.canvas.grid.coordinates)
    for finding in _samples(sampler, chest.site, 30):
        _, mask, _ = chest.painted(finding)
        assert {LOBES[i] for i in np.unique(lobes[mask])} == set(finding.lobes)

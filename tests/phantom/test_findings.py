from __future__ import annotations

import numpy as np
import pytest

from thoracle.phantom.anatomy.thorax import LOBES
from thoracle.phantom.anatomy.trees import sample_points
from thoracle.phantom.findings import SAMPLERS, GrowthSite
from thoracle.phantom.imaging import scene as module
from thoracle.phantom.imaging.canvas import Canvas
from thoracle.phantom.imaging.scene import paint
from thoracle.types import ABNORMALITIES

_IN_LUNG = (
    "Emphysema",
    "Atelectasis",
    "Lung nodule",
    "Lung opacity",
    "Pulmonary fibrotic sequela",
    "Pleural effusion",
    "Mosaic attenuation pattern",
    "Peribronchial thickening",
    "Consolidation",
    "Bronchiectasis",
    "Interlobular septal thickening",
)


def _points(picture, abnormality: str) -> np.ndarray:
    """Canonical coordinates (n, 3) of a mask's voxels."""
    x, y, z = np.broadcast_arrays(*picture.grid.coordinates)
    mask = picture.of(abnormality)
    return np.stack([x[mask], y[mask], z[mask]], axis=1)


def test_every_abnormality_has_a_sampler():
    assert set(SAMPLERS) == set(ABNORMALITIES)


@pytest.mark.parametrize("abnormality", ABNORMALITIES)
def test_a_finding_marks_its_own_mask_and_no_other(abnormality, seed, painted):
    picture = painted(seed, abnormality)
    assert picture.of(abnormality).any()
    assert not (picture.mask & ~np.uint32(1 << ABNORMALITIES.index(abnormality))).any()


def test_a_healthy_chest_has_no_mask(seed, painted):
    assert not painted(seed).mask.any()


@pytest.mark.parametrize("abnormality", [name for name in ABNORMALITIES if name != "Cardiomegaly"])
def test_a_finding_changes_the_picture_where_its_mask_is(abnormality, seed, painted):
    changed = np.abs(painted(seed, abnormality).hu - painted(seed).hu)
    mask = painted(seed, abnormality).of(abnormality)
    assert changed[mask].mean() > 8 * changed[~mask].mean()


@pytest.mark.parametrize("abnormality", _IN_LUNG)
def test_lung_findings_lie_inside_the_pleura(abnormality, seed, painted):
    picture = painted(seed, abnormality)
    points = _points(picture, abnormality)
    depth = picture.scene.thorax.lung(points[:, 0], points[:, 1], points[:, 2])
    assert np.mean(depth < 3) > 0.97


def test_pleural_effusion_lies_behind_and_touches_the_wall(seed, painted):
    picture = painted(seed, "Pleural effusion")
    points = _points(picture, "Pleural effusion")
    assert np.mean(points[:, 1] > 0) > 0.9
    assert points[:, 2].mean() < 0
    assert np.max(picture.scene.thorax.cavity(points[:, 0], points[:, 1], points[:, 2])) > -6
    assert -15 < np.percentile(picture.hu[picture.of("Pleural effusion")], 70) < 35


@pytest.mark.parametrize("abnormality", ["Lung nodule", "Consolidation", "Lung opacity"])
def test_the_reported_lobes_are_those_of_the_mask(abnormality, seed, painted):
    picture = painted(seed, abnormality)
    (finding,) = picture.scene.findings
    points = _points(picture, abnormality)
    found = np.bincount(picture.scene.thorax.lobe_index(points[:, 0], points[:, 1], points[:, 2]), minlength=5) / len(points)
    assert sum(found[LOBES.index(lobe)] for lobe in finding.lobes) > 0.6


def test_pericardial_effusion_coats_the_heart(seed, painted):
    picture = painted(seed, "Pericardial effusion")
    points = _points(picture, "Pericardial effusion")
    away = picture.scene.thorax.heart_surface(points[:, 0], points[:, 1], points[:, 2])
    assert np.mean((away > -3) & (away < 28)) > 0.97


def test_coronary_lime_lies_on_the_heart_and_aortic_lime_does_not(seed, painted):
    for name, near in (("Coronary artery wall calcification", True), ("Arterial wall calcification", False)):
        picture = painted(seed, name)
        points = _points(picture, name)
        away = np.abs(picture.scene.thorax.heart_surface(points[:, 0], points[:, 1], points[:, 2]))
        assert (np.median(away) < 8) == near


def test_hernia_lies_behind_the_heart_in_the_midline(seed, painted):
    points = _points(painted(seed, "Hiatal hernia"), "Hiatal hernia")
    x, y, z = points.mean(axis=0)
    assert -15 < x < 40
    assert 0 < y < 60
    assert z < -40


def test_enlarged_nodes_lie_outside_the_lungs_depths(seed, painted):
    picture = painted(seed, "Lymphadenopathy")
    points = _points(picture, "Lymphadenopathy")
    assert np.mean(np.abs(points[:, 0]) < 75) > 0.3 or np.abs(points[:, 0]).min() > 100
    assert (picture.scene.findings[0].size_mm or 0) >= 10


def test_cardiomegaly_is_a_larger_heart(seed, painted):
    large, plain = painted(seed, "Cardiomegaly"), painted(seed)
    assert large.scene.thorax.heart > 1.1 * plain.scene.thorax.heart
    assert large.scene.thorax.heart >= 1.17 > 1.04 >= plain.scene.thorax.heart


def test_mosaic_leaves_the_mean_of_the_lung(seed, painted):
    mosaic, plain = painted(seed, "Mosaic attenuation pattern"), painted(seed)
    x, y, z = mosaic.grid.coordinates
    lung = mosaic.scene.thorax.lung(x, y, z) < -4
    assert abs(mosaic.hu[lung].mean() - plain.hu[lung].mean()) < 12
    assert mosaic.hu[lung & mosaic.of("Mosaic attenuation pattern")].mean() < plain.hu[lung].mean() - 15


def test_metal_is_bright_and_lookalike_metal_is_outside_the_body(seed, painted):
    device = painted(seed, "Medical material")
    assert device.hu[device.of("Medical material")].max() > 250
    for other in range(12):
        picture = painted(other)
        x, y, z = picture.grid.coordinates
        bright = picture.hu > 1300
        assert not (bright & (picture.scene.thorax.body(x, y, z) < -6)).any()


@pytest.mark.parametrize("abnormality", ["Lung nodule", "Pleural effusion", "Consolidation", "Cardiomegaly"])
def test_a_finding_is_as_large_on_a_finer_grid(abnormality, make_scene, coarse_grid):
    scene = make_scene(4, abnormality)
    volumes = []
    for spacing in (4.0, 2.5):
        _, mask = paint(scene, coarse_grid(scene, spacing))
        volumes.append(np.count_nonzero(mask) * spacing**3)
    assert volumes[1] == pytest.approx(volumes[0], rel=0.25)


def test_facts_are_in_range(seed, make_scene):
    scene = make_scene(seed, *ABNORMALITIES)
    for finding in scene.findings:
        assert finding.severity in ("mild", "moderate", "severe")
        assert set(finding.lobes) <= set(LOBES)
        assert finding.number >= 1
        assert finding.size_mm is None or 1 < finding.size_mm < 250


@pytest.fixture(scope="module")
def drawn(make_scene, coarse_grid):
    """Thirty findings of each abnormality in one chest, and by how much each changes it: HU, summed over voxels."""
    scene = make_scene(1)
    site = GrowthSite(thorax=scene.thorax, points=sample_points(np.random.default_rng(0), scene.thorax), trees=scene.trees, finest=4.0)
    chest = module._blank(scene, coarse_grid(scene))
    module._paint_body(scene, chest)
    found = {}
    for number, name in enumerate(ABNORMALITIES):
        findings = [SAMPLERS[name](np.random.default_rng([8, number, i]), site) for i in range(30)]
        found[name] = [(finding, _change(chest, finding)) for finding in findings]
    return found


def _change(chest: Canvas, finding) -> float:
    layers = {name: getattr(chest, name).copy() for name in ("hu", "hull", "lung", "mask")}
    finding.paint(Canvas(grid=chest.grid, thorax=chest.thorax, **layers))
    return float(np.abs(layers["hu"] - chest.hu).sum())


@pytest.mark.parametrize("abnormality", [name for name in ABNORMALITIES if name not in ("Medical material", "Cardiomegaly")])
def test_findings_come_mild_moderate_and_severe_and_severe_ones_change_more(abnormality, drawn):
    changes = {word: [change for f, change in drawn[abnormality] if f.severity == word] for word in ("mild", "moderate", "severe")}
    assert all(changes.values())
    assert np.mean(changes["severe"]) > 1.2 * np.mean(changes["mild"])


def test_cardiomegaly_is_as_severe_as_the_heart_is_large(make_scene):
    hearts = {}
    for seed in range(30):
        scene = make_scene(seed, "Cardiomegaly")
        hearts.setdefault(scene.findings[0].severity, []).append(scene.thorax.heart)
    assert max(hearts["mild"]) <= min(hearts["moderate"])
    assert max(hearts["moderate"]) <= min(hearts["severe"])


def test_findings_differ_in_side_lobe_size_number_and_kind(drawn):
    def values(abnormality, attribute):
        return {getattr(finding, attribute) for finding, _ in drawn[abnormality]}

    for name in ("Lung nodule", "Lung opacity", "Consolidation", "Atelectasis", "Pleural effusion", "Pulmonary fibrotic sequela"):
        assert len(values(name, "side")) >= 2, name
    for name in ("Lung nodule", "Lung opacity", "Consolidation"):
        assert {lobe for lobes in values(name, "lobes") for lobe in lobes} == set(LOBES), name
    for name in ("Lung nodule", "Lymphadenopathy", "Lung opacity", "Consolidation", "Pleural effusion", "Hiatal hernia"):
        assert len(values(name, "size_mm")) > 5, name
    for name in ("Lung nodule", "Lymphadenopathy", "Arterial wall calcification", "Lung opacity"):
        assert len(values(name, "number")) > 2, name
    assert {"pacemaker", "central venous port", "sternal wires"} <= values("Medical material", "kind")

from __future__ import annotations

import numpy as np
import pytest

from thoracle.phantom.anatomy.thorax import LOBES
from thoracle.phantom.findings import SAMPLERS
from thoracle.phantom.imaging.scene import paint
from thoracle.types import ABNORMALITIES

_IN_LUNG = ABNORMALITIES[ABNORMALITIES.index("Emphysema") :]


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
def drawn(chest):
    """Thirty findings of each abnormality in one chest, and by how much each changes it: HU, summed over voxels."""
    findings = {}
    for number, name in enumerate(ABNORMALITIES):
        samples = [SAMPLERS[name](np.random.default_rng([8, number, i]), chest.site) for i in range(30)]
        findings[name] = [(finding, float(np.abs(chest.painted(finding)[2]).sum())) for finding in samples]
    return findings


@pytest.mark.parametrize("abnormality", [name for name in ABNORMALITIES if name not in ("Medical material", "Cardiomegaly")])
def test_findings_come_mild_moderate_and_severe_and_severe_ones_change_more(abnormality, drawn):
    changes = {word: [change for f, change in drawn[abnormality] if f.severity == word] for word in ("mild", "moderate", "severe")}
    assert all(changes.values())
    assert np.mean(changes["severe"]) > 1.2 * np.mean(changes["mild"])


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

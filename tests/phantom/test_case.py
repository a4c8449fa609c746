from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from thoracle.phantom import case
from thoracle.phantom.case import make_patient, plan_cohort, report_patient
from thoracle.phantom.presets import PRESETS
from thoracle.types import ABNORMALITIES

_TINY = PRESETS["tiny"]

#: Of the fourth patient of seed 0, by the painter of format 3 (commit a2af044); voxels of each mask, in the order of `ABNORMALITIES`.
_FORMAT_3 = {
    "shape": (96, 96, 65),
    "spacing": (3.869612, 3.869612, 4.0),
    "origin": (-195.8922, -176.3941, -229.6648),
    "mean": -555.834,
    "spread": 490.546,
    "marked": [0, 225, 0, 0, 138, 0, 582, 0, 2274, 551, 2422, 825, 0, 34131, 0, 0, 0, 0],
}


def _visits(cases: int, *, seed: int, aligned: bool = False) -> list[case._Visit]:
    return [visit for plan in plan_cohort(cases, seed=seed) for visit in case._visits(plan, seed, _TINY, aligned=aligned)]


def test_reports_without_painting_are_those_of_the_scans() -> None:
    plans = plan_cohort(4, seed=5)
    painted = [(scan.report, scan.labels) for plan in plans for scan in make_patient(plan, seed=5, preset=_TINY)]
    assert [pair for plan in plans for pair in report_patient(plan, seed=5, preset=_TINY)] == painted


@pytest.mark.slow
def test_the_sick_have_every_part_of_every_finding_in_the_picture_and_masks_where_rays_cross(monkeypatch):
    """All 18 at once, in fields that cut: a nodule, node or scar that truth counts lies where the scan sees it."""
    monkeypatch.setattr(case, "sample_labels", lambda rng, visits: np.ones((visits, 18), dtype=bool))
    for visit in _visits(10, seed=8):
        grid = visit.acquisition.grid
        scene, _, mask = visit._painted(grid)
        assert all(grid.holds(finding.parts).all() for finding in scene.findings)
        assert np.bitwise_or.reduce(mask, axis=None) == (1 << 18) - 1, "no label without a voxel"
        assert not mask[~grid.crossed].any()


def test_a_finding_outside_the_picture_is_drawn_again(monkeypatch):
    """A scan that ends below the apices shows its nodules, nodes and scars below them."""
    names = ("Pulmonary fibrotic sequela", "Lung nodule", "Lymphadenopathy")
    for healthy in _visits(6, seed=3):
        visit = replace(healthy, abnormalities=names)
        grid = replace(visit.acquisition.grid, origin=(*visit.acquisition.grid.origin[:2], -150.0), shape=(96, 96, 55))
        at_first = visit._sampled(dict.fromkeys(names, 0))
        scene = visit.in_the_picture(dict.fromkeys(names, 0), grid)
        assert all(grid.holds(finding.parts).all() for finding in scene.findings)
        kept = [a.centre == b.centre for a, b in zip(at_first.findings, scene.findings, strict=True)]
        assert kept == [bool(grid.holds(finding.parts).all()) for finding in at_first.findings]


def test_the_same_person_with_the_same_sickness_lies_aligned_or_not(monkeypatch):
    """What is drawn of body and labels is the same in both worlds; position, field and coverage are not."""
    lying, aligned = (_visits(8, seed=2, aligned=how) for how in (False, True))
    for one, other in zip(lying, aligned, strict=True):
        assert one.abnormalities == other.abnormalities
        same = ("sex", "age", "scale", "fat", "inspiration", "lung_hu", "contrast")
        assert [getattr(one.patient, name) for name in same] == [getattr(other.patient, name) for name in same]
        assert other.patient.pitch == 0
        assert not other.patient.arms_raised
    assert len({visit.patient.pitch for visit in lying}) == len(lying)


def test_aligned_phantoms_are_those_of_format_3():
    """The same grid, masks and, but for the outermost slices, voxels; another processor may round some of them otherwise."""
    scan = next(make_patient(plan_cohort(5, seed=0)[3], seed=0, preset=_TINY, aligned=True))
    stored = scan.volumes[0].stored
    assert stored.hu.shape == _FORMAT_3["shape"]
    assert stored.spacing == pytest.approx(_FORMAT_3["spacing"])
    assert stored.origin == pytest.approx(_FORMAT_3["origin"])
    assert stored.hu[:, :, 4:-6].mean() == pytest.approx(_FORMAT_3["mean"], abs=0.01)
    assert stored.hu[:, :, 4:-6].std() == pytest.approx(_FORMAT_3["spread"], abs=0.01)
    marked = [int(np.count_nonzero(stored.mask >> i & 1)) for i in range(len(ABNORMALITIES))]
    assert marked == pytest.approx(_FORMAT_3["marked"], abs=3)

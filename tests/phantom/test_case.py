from __future__ import annotations

from thoracle.phantom.case import make_patient, plan_cohort, report_patient
from thoracle.phantom.presets import PRESETS


def test_reports_without_painting_are_those_of_the_scans() -> None:
    preset = PRESETS["tiny"]
    plans = plan_cohort(4, seed=5)
    painted = [(scan.report, scan.labels) for plan in plans for scan in make_patient(plan, seed=5, preset=preset)]
    assert [pair for plan in plans for pair in report_patient(plan, seed=5, preset=preset)] == painted

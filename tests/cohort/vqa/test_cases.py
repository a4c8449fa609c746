from __future__ import annotations

import numpy as np
import pytest

from thoracle.cohort.manifest import CohortEntry
from thoracle.cohort.reports import Report, Section
from thoracle.cohort.vqa.cases import cases_of, finding_attributes
from thoracle.types import ABNORMALITIES


@pytest.mark.parametrize(("section", "written"), [("impression", "Cardiomegaly."), ("findings", "The heart is large."), ("both", None)])
def test_the_section_that_is_asked_for_is_to_be_written_and_facts_are_looked_for_in_both(section: Section, written: str | None) -> None:
    labels = tuple(int(name == "Cardiomegaly") for name in ABNORMALITIES)
    report = Report(findings="The heart is large.", impression="Cardiomegaly.")
    entry = CohortEntry(
        volume="v", scan="s", patient="p", split="valid", source_sha256="", cache="", cache_sha256="", report=report, labels=labels
    )
    read: list[str] = []
    (case,) = cases_of([entry], split="valid", section=section, evidence=lambda text: read.append(text) or {})
    assert case.report == (written or "The heart is large. Cardiomegaly.")
    assert read == ["The heart is large. Cardiomegaly."]


def test_what_is_told_of_findings_is_whether_they_are_there_and_their_sides() -> None:
    known = {"Lung nodule": 1, "Pleural effusion": 1, "Cardiomegaly": 1, "Atelectasis": 0}
    report = Report(
        findings="A nodule in the left lung. Pleural effusion on both sides. The heart is large. Atelectasis in the right lung."
    )
    entry = CohortEntry(
        volume="v",
        scan="s",
        patient="p",
        split="valid",
        source_sha256="",
        cache="",
        cache_sha256="",
        report=report,
        labels=tuple(known.get(name) for name in ABNORMALITIES),
    )
    told = dict(zip(ABNORMALITIES, finding_attributes(entry), strict=True))
    np.testing.assert_array_equal(told["Lung nodule"], [1, 1, 0])
    np.testing.assert_array_equal(told["Pleural effusion"], [1, 1, 1])
    np.testing.assert_array_equal(told["Cardiomegaly"], [1, np.nan, np.nan])
    np.testing.assert_array_equal(told["Atelectasis"], [0, 0, 0])
    np.testing.assert_array_equal(told["Emphysema"], [np.nan] * 3)

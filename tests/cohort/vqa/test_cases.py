from __future__ import annotations

import numpy as np
import pytest

from thoracle.cohort.manifest import CohortEntry
from thoracle.cohort.reports import Report, Section
from thoracle.cohort.vqa.cases import cases_of, finding_attributes
from thoracle.cohort.vqa.templates import make_questions
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


def _visit(scan: str, visit: int | None, present: int) -> CohortEntry:
    return CohortEntry(
        volume=f"{scan}.nii.gz",
        scan=scan,
        patient="p",
        split="valid",
        source_sha256="",
        cache="",
        cache_sha256="",
        report=Report(),
        labels=tuple(present if name == "Emphysema" else None for name in ABNORMALITIES),
        visit=visit,
    )


def _changes(*entries: CohortEntry) -> list[tuple[tuple[str, ...], str]]:
    questions = make_questions(cases_of(entries, split="valid"))
    return [(question.images, pair.answer) for question in questions for pair in question.pairs if pair.topic == "change"]


def test_what_is_new_is_asked_in_the_order_of_time_whatever_the_scans_are_called() -> None:
    assert _changes(_visit("a", 2, 1), _visit("z", 1, 0)) == [(("z.nii.gz", "a.nii.gz"), "New.")]
    assert _changes(_visit("a", 1, 0), _visit("z", 2, 1)) == [(("a.nii.gz", "z.nii.gz"), "New.")]
    assert _changes(_visit("m", 2, 1), _visit("a", 3, 0), _visit("z", 1, 0)) == [
        (("z.nii.gz", "m.nii.gz"), "New."),
        (("m.nii.gz", "a.nii.gz"), "Gone."),
    ]


def test_nothing_is_asked_where_the_order_is_not_known() -> None:
    assert _changes(_visit("a", None, 1), _visit("z", None, 0)) == []
    assert _changes(_visit("a", 1, 1), _visit("z", None, 0)) == []
    assert _changes(_visit("a", 1, 1), _visit("z", 1, 0)) == [], "two scans of one day"
    assert _changes(_visit("a", 1, 1), _visit("m", 1, 0), _visit("z", 2, 0)) == [], "either may be the one before"

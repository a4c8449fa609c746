from __future__ import annotations

import pytest

from thoracle.cohort.manifest import Entry
from thoracle.cohort.questions.cases import cases_of
from thoracle.cohort.reports import Report, Section
from thoracle.types import ABNORMALITIES


@pytest.mark.parametrize(("section", "written"), [("impression", "Cardiomegaly."), ("findings", "The heart is large."), ("both", None)])
def test_the_section_that_is_asked_for_is_to_be_written_and_facts_are_looked_for_in_both(section: Section, written: str | None) -> None:
    labels = tuple(int(name == "Cardiomegaly") for name in ABNORMALITIES)
    report = Report(findings="The heart is large.", impression="Cardiomegaly.")
    entry = Entry(
        volume="v", scan="s", patient="p", split="valid", source_sha256="", cache="", cache_sha256="", report=report, labels=labels
    )
    read: list[str] = []
    (case,) = cases_of([entry], split="valid", section=section, evidence=lambda text: read.append(text) or {})
    assert case.report == (written or "The heart is large. Cardiomegaly.")
    assert read == ["The heart is large. Cardiomegaly."]

"""Answers in sentences: what they state and deny, as the rules of `thoracle label` read it, is what labels and facts say."""

from __future__ import annotations

import re

from hypothesis import given, settings

from tests.cohort.vqa.scans import drawn_case
from thoracle.cohort.manifest import CohortEntry
from thoracle.cohort.reports import Report
from thoracle.cohort.vqa.attributes import LOBES, FindingAttributes
from thoracle.cohort.vqa.case import REGIONS, Case
from thoracle.cohort.vqa.cases import cases_of
from thoracle.cohort.vqa.long_answers import long_answer_questions
from thoracle.inference.labeler.rules import RuleLabeller
from thoracle.types import ABNORMALITIES

REPORT = (
    "Mild pleural effusion on the right, 14 mm. A nodule of 8 mm is seen in the left upper lobe."
    " Emphysema and atelectasis in the left lung. No consolidation. Heart size is normal."
)
LABELS = {"Pleural effusion": 1, "Lung nodule": 1, "Emphysema": 1, "Atelectasis": 1, "Consolidation": 0, "Cardiomegaly": 0}


def _assertions(text: str) -> set[tuple[str, str]]:
    """The abnormalities that a text speaks of, and how."""
    (labels,) = RuleLabeller().label([text])
    return {(name, mention.assertion) for name, mentions in zip(ABNORMALITIES, labels.evidence, strict=True) for mention in mentions}


@given(drawn_case())
@settings(max_examples=25, deadline=None)
def test_nothing_is_stated_but_what_labels_say(case: Case) -> None:
    for pair in long_answer_questions(case, 2):
        read = _assertions(pair.answer)
        assert read == {(name, "affirmed" if case.presence[name] else "negated") for name, _ in read}, pair.answer
        if pair.topic == "finding":
            assert {name for name, _ in read} == {pair.about}
        if pair.topic == "comparison":
            assert {name for name, _ in read} == set(pair.about.split(" / "))
        if pair.about in REGIONS:
            assert {name for name, _ in read} == {name for name in REGIONS[pair.about] if name in case.presence}


@given(drawn_case())
@settings(max_examples=60, deadline=None)
def test_places_sizes_and_degrees_are_those_of_the_facts(case: Case) -> None:
    for pair in long_answer_questions(case, 2):
        if pair.topic == "finding" and case.presence[pair.about]:
            facts = case.attributes(pair.about)
            assert [float(size) for size in re.findall(r"(\d+) mm", pair.answer)] == ([] if facts.size_mm is None else [facts.size_mm])
            assert tuple(lobe for lobe in LOBES if lobe in pair.answer) == tuple(lobe for lobe in LOBES if lobe in facts.lobes)
            assert re.findall(r"mild|moderate|severe", pair.answer.lower()) == ([facts.severity] if facts.severity else [])
        if pair.about in LOBES and "There is no" not in pair.answer:
            located = {name for name, facts in case.facts.items() if pair.about in facts.lobes}
            assert {name for name in located if name.lower() in pair.answer}, pair.answer
            assert not [lobe for lobe in LOBES if lobe in pair.answer and lobe != pair.about], "a lobe's answer names no other"


def test_that_nothing_lies_in_a_place_is_said_only_where_nothing_of_its_kind_is_there() -> None:
    labels = tuple(int(name == "Lung nodule") for name in ABNORMALITIES)
    case = Case(volume="v", patient="p", labels=labels, facts={"Lung nodule": FindingAttributes(lobes=("left upper lobe",))}, report="")
    regions = {pair.about: pair.answer for pair in long_answer_questions(case, 0) if pair.topic == "region"}
    assert regions["left upper lobe"] == "In the left upper lobe there is lung nodule."
    assert "right upper lobe" not in regions, "the report does not say that it is clear"
    assert regions["mediastinum"] == "There is no hiatal hernia or lymphadenopathy."
    assert regions["lungs"].startswith("There is lung nodule in the left upper lobe. There is no emphysema, atelectasis,")


def test_answers_of_a_report_say_what_it_says_and_of_a_shared_sentence_only_that_findings_are_there() -> None:
    entry = CohortEntry(
        volume="v", scan="s", patient="p", split="train", source_sha256="", cache="", cache_sha256="", report=Report(findings=REPORT),
        labels=tuple(LABELS.get(name) for name in ABNORMALITIES),
    )  # fmt: skip
    (case,) = cases_of([entry], split="train")
    answers = {(pair.topic, pair.about): pair.answer for pair in long_answer_questions(case, 0)}
    assert answers["finding", "Pleural effusion"] == "There is mild pleural effusion on the right, 14 mm."
    assert answers["finding", "Lung nodule"] == "There is lung nodule in the left upper lobe, 8 mm."
    assert answers["finding", "Emphysema"] == "There is emphysema.", "whose side it is, a sentence on two does not say"
    assert answers["region", "right side"] == "On the right side there is mild pleural effusion on the right, 14 mm."
    assert answers["findings", "absent"] == "There is no cardiomegaly or consolidation."
    assert answers["findings", "sizes"] == "Lung nodule measures 8 mm and pleural effusion measures 14 mm."
    assert ("finding", "Bronchiectasis") not in answers, "nobody says"
    contradicted = _assertions(" ".join(answers.values())) & {
        (name, {"affirmed": "negated", "negated": "affirmed"}.get(said, "")) for name, said in _assertions(REPORT)
    }
    assert not contradicted

"""Questions that a word or two answer: each answer against the case that it was made of."""

from __future__ import annotations

from hypothesis import given, settings

from tests.cohort.vqa.scans import drawn_case
from thoracle.cohort.vqa.attributes import FindingAttributes
from thoracle.cohort.vqa.case import REGIONS, Case
from thoracle.cohort.vqa.short_answers import attribute_questions, group_questions, presence
from thoracle.types import ABNORMALITIES

LABELS = {"Lung nodule": 1, "Pleural effusion": 1, "Emphysema": 0, "Cardiomegaly": 0, "Pericardial effusion": 0}


def _case(**facts: FindingAttributes) -> Case:
    names = {"nodule": "Lung nodule", "effusion": "Pleural effusion"}
    labels = tuple(LABELS.get(name) for name in ABNORMALITIES)
    return Case(volume="v", patient="p", labels=labels, facts={names[key]: value for key, value in facts.items()}, report="")


def test_what_is_known_of_a_finding_is_asked_and_nothing_else() -> None:
    case = _case(
        nodule=FindingAttributes(side="left", lobes=("left upper lobe",), size_mm=9.0, count="four"),
        effusion=FindingAttributes(side="both", severity="mild"),
    )
    answers = {(pair.about, pair.topic): pair.answer for pair in attribute_questions(case, 0)}
    assert answers == {
        ("Lung nodule", "side"): "Left.",
        ("Lung nodule", "lobe"): "Left upper lobe.",
        ("Lung nodule", "size"): "9 mm.",
        ("Lung nodule", "count"): "Several.",
        ("Pleural effusion", "side"): "Both.",
        ("Pleural effusion", "severity"): "Mild.",
    }
    assert presence("Lung nodule", case, 0).answer == "Yes."
    assert presence("Emphysema", case, 0).answer == "No."


def test_of_a_region_is_asked_only_where_all_its_labels_are_known() -> None:
    regions = {pair.about for pair in group_questions(_case(), 0) if pair.topic in ("any", "number")}
    assert regions == {"heart and pericardium"}


@given(drawn_case())
@settings(max_examples=60, deadline=None)
def test_groups_and_pairs_are_answered_by_the_labels(case: Case) -> None:
    there = case.presence
    for pair in group_questions(case, 3):
        if pair.topic == "any":
            assert (pair.answer == "Yes.") == any(there[name] for name in REGIONS[pair.about])
            assert all(name.lower() in pair.question for name in REGIONS[pair.about])
        elif pair.topic == "number":
            assert pair.answer == f"{sum(there[name] for name in REGIONS[pair.about])}."
        else:
            first, second = pair.about.split(" / ")
            assert first.lower() in pair.question.lower()
            assert second.lower() in pair.question.lower()
            present = [name for name in (first, second) if there[name]]
            assert pair.answer == ("Neither." if not present else "Both." if len(present) == 2 else f"{present[0]}.")

"""Sentences on findings: with all that is known, or nothing but that they are there."""

from __future__ import annotations

import pytest

from thoracle.cohort.vqa.attributes import FindingAttributes
from thoracle.cohort.vqa.sentences import denial, listing, phrase, statement

NODULE = FindingAttributes(side="right", lobes=("right upper lobe", "right lower lobe"), size_mm=8.4, count="two")
EFFUSION = FindingAttributes(side="both", size_mm=12.0, severity="mild")


def test_a_finding_is_told_with_all_that_is_known_of_it() -> None:
    assert phrase("Lung nodule", NODULE) == "lung nodule in the right upper lobe and the right lower lobe, 8 mm"
    assert phrase("Cardiomegaly", FindingAttributes()) == "cardiomegaly"
    effusion = phrase("Pleural effusion", EFFUSION)
    assert statement([effusion, "cardiomegaly"]) == "There is mild pleural effusion on both sides, 12 mm and cardiomegaly."


def test_what_is_absent_is_denied_in_one_sentence() -> None:
    assert denial(["Emphysema"]) == "There is no emphysema."
    assert denial(["Emphysema", "Consolidation", "Lung nodule"], where="in the left upper lobe") == (
        "There is no emphysema, consolidation or lung nodule in the left upper lobe."
    )


@pytest.mark.parametrize(("names", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")])
def test_names_are_joined(names: list[str], text: str) -> None:
    assert listing(names) == text

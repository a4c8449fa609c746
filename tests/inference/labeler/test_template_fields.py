from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.inference.labeler.sentences import fold
from thoracle.inference.labeler.template_fields import template_fields


def read(sentence: str) -> list[tuple[str, str]]:
    text = fold(sentence)
    return [(text[field.name_start : field.name_end].strip(), field.verdict) for field in template_fields(text)]


DENYING = [
    ": None",
    ": absent",
    ": no",
    ": negative",
    ": not seen",
    ": None seen",
    ": No evidence",
    " (-)",
    " - none",
    "? none",
    "=0",
    ": N/A",
    "\tabsent",
    " ....... No",
    " [ ]",
    ": nil",
    ": NAD",
    ": -",
    " – none",
    ": not present",
    ": unremarkable",
    ": resolved",
    "   no",
    ": [ ] Yes [x] No",
    ": ☐",
    " (N)",
    " (absent)",
    ": no longer seen",
    ": 0",
    ": Yes / No -> No",
    ": without",
]
STATING = [
    ": yes",
    ": present",
    " (+)",
    ": mild",
    ": minimal",
    ": 9 mm",
    ": 3 (largest 6 mm)",
    "? Yes, small",
    "\tmoderate",
    " [x]",
    "=1",
    ": [x] Yes [ ] No",
    " (Y)",
    " - small",
    ": bilateral",
    ": ☑",
    ": Yes / No -> Yes",
    ": +",
    ": 1.5 x 2 cm",
    " (8 mm)",
    ": right, small",
]


@pytest.mark.parametrize("field", [*DENYING, " | No", " | none |"])
def test_a_field_that_denies(field: str) -> None:
    assert read(f"Pleural effusion{field}") == [("pleural effusion", "denied")]


@pytest.mark.parametrize("field", [*STATING, " | Yes", " | small |"])
def test_a_field_that_states(field: str) -> None:
    assert read(f"Pleural effusion{field}") == [("pleural effusion", "stated")]


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Nodule: no significant change", [("nodule", "words")]),
        ("Nodule: not significantly changed", [("nodule", "words")]),
        ("Aorta: atherosclerotic", [("aorta", "words")]),
        ("Effusion, consolidation: not seen", [("effusion, consolidation", "denied")]),
        ("Effusion: none, nodule: yes, 5 mm", [("effusion", "denied"), ("nodule", "stated")]),
        ("Effusion (-), consolidation (-), nodule (+)", [("effusion", "denied"), ("consolidation", "denied"), ("nodule", "stated")]),
        ("[x] Emphysema [ ] Nodule", [("emphysema", "stated"), ("nodule", "denied")]),
        ("The heart is normal - no effusion", []),
        ("A nodule (series 3, image 112) in the lingula", []),
        ("Findings that are of note: a nodule", []),
        ("There is a small nodule", []),
        ("Pleural effusion: no. Nodule: [x] yes [ ] no", [("pleural effusion", "denied"), ("nodule", "stated")]),
        ("Effusion: [ ] yes [x] no. Nodule: [x] yes, [ ] no", [("effusion", "denied"), ("nodule", "stated")]),
    ],
)
def test_names_and_fields_of_a_sentence(sentence: str, expected: list[tuple[str, str]]) -> None:
    assert read(sentence) == expected


@given(st.lists(st.sampled_from(["nodule", "no", ": ", " (-)", ", ", "[x] ", " | ", "=", "?", "5 mm", " - "]), max_size=10).map("".join))
def test_fields_stand_in_order_within_the_sentence(sentence: str) -> None:
    for field in template_fields(sentence):
        assert 0 <= field.name_start <= field.name_end <= field.start <= field.end <= len(sentence)

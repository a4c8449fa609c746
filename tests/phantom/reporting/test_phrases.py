"""Words, no logic: what every wording must hold so that reports say what is true."""

from __future__ import annotations

import re

import pytest

from thoracle.phantom.reporting.phrases import (
    BLOCKS,
    CLEAR_SUMMARY,
    ENDING,
    HEDGES,
    HISTORIES,
    LUNG_WINDOW,
    NORMAL,
    WORDINGS,
)
from thoracle.types import ABNORMALITIES

_BLANKS = {"sev", "Sev", "where", "side", "size", "count", "Count", "kind"}
_DENIAL = re.compile(r"\b(no|not|without|free|normal|natural|thin|homogeneous)\b", re.IGNORECASE)
#: Findings that samplers draw in lobes of their own choice.
_LOBAR = (
    "Atelectasis",
    "Lung nodule",
    "Lung opacity",
    "Pulmonary fibrotic sequela",
    "Consolidation",
    "Bronchiectasis",
    "Interlobular septal thickening",
)


def _blanks(text: str) -> set[str]:
    return set(re.findall(r"{(\w*)}", text))


def test_every_abnormality_is_worded_once():
    assert set(WORDINGS) == set(ABNORMALITIES)
    assert {wording.block for wording in WORDINGS.values()} | {block for block, _ in NORMAL} == set(BLOCKS)


@pytest.mark.parametrize("abnormality", ABNORMALITIES)
def test_wordings_are_sentences_with_blanks_that_a_report_can_fill(abnormality):
    wording = WORDINGS[abnormality]
    for text in (*wording.present, *wording.absent, *wording.summed):
        assert _blanks(text) <= _BLANKS
        assert text.count("{") == text.count("}") == len(re.findall(r"{\w+}", text))
        assert text.endswith(".")
        assert text[0].isupper() or text.startswith(("{Sev}", "{Count}"))
    assert len(set(wording.present)) == len(wording.present) >= 3, "readers vary"


@pytest.mark.parametrize("abnormality", ABNORMALITIES)
def test_what_is_present_is_named_and_not_denied(abnormality):
    wording = WORDINGS[abnormality]
    named = [text for text in (*wording.present, *wording.summed) if abnormality.lower() in text.lower()]
    assert abnormality.lower() in wording.present[0].lower()
    assert len(named) >= len(wording.present) // 2
    for text in (*wording.present, *wording.summed):
        assert not re.search(r"\b(no|not)\b|^free of|without (?!walls)", text, re.IGNORECASE), text


@pytest.mark.parametrize("abnormality", ABNORMALITIES)
def test_what_is_absent_is_denied_without_severity_place_or_size(abnormality):
    for text in WORDINGS[abnormality].absent:
        assert _DENIAL.search(text), text
        assert not _blanks(text), text


@pytest.mark.parametrize("abnormality", _LOBAR)
def test_findings_of_lobes_say_where(abnormality):
    """Every sentence names the lobes, but for those that say both lungs or only that it is there."""
    located = [text for text in WORDINGS[abnormality].present if "{where}" in text or "both lungs" in text]
    assert len(located) == len(WORDINGS[abnormality].present)


def test_effusion_says_its_side():
    assert all("{side}" in text for text in WORDINGS["Pleural effusion"].present)


def test_no_wording_names_a_lobe_or_one_side_by_itself():
    """A lobe comes from the finding; a fixed one would be right by chance. Emphysema is always one of the upper lobes."""
    for name, wording in WORDINGS.items():
        for text in (*wording.present, *wording.summed):
            located = text.replace("the upper lobes", "") if name == "Emphysema" else text
            assert not re.search(r"\b(left|right|upper|middle|lower lobe)", located), text


def test_sentences_of_no_abnormality_name_none():
    stating = [text for _, text in NORMAL] + [*ENDING, *LUNG_WINDOW, *CLEAR_SUMMARY, *HISTORIES, *HEDGES]
    for text in stating:
        assert not [name for name in ABNORMALITIES if name.lower() in text.lower()], text
        assert not _blanks(text)


def test_hedges_take_the_place_of_a_full_stop():
    assert all(hedge.startswith(", ") and hedge.endswith(".") for hedge in HEDGES)

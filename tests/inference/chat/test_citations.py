"""Attacks on citations: ids that were not given in any spelling, clauses that hide behind another's source, honest text."""

from __future__ import annotations

import re

import pytest

from thoracle.inference.chat.citations import NO_CITATION, cited, filter_citations

SOURCES = {"F1": "Pleural effusion: probability 0.910", "F2": "Emphysema: probability 0.080", "C1": "case p7, similarity 0.900"}

#: No source 9, 98 or 99 was given: none of these may be left, in the sentence of an honest citation or alone.
SPELLINGS = (
    # as the review found them
    "[F99]", "f99", "c9", "F98-F99", "F_99", "F 99", "C-9", "C9a", "С9", "Ｆ99", "F\u200b99", "C\u00ad9", "[[F99]]", "[F９９]", "[99]",
    "[F99](http://evil/?q=)", "F9\r9",
    # our own
    "[f99]", "(F99)", "【F99】", "Evidence F99", "finding F99", "case C9", "C.9", "F:99", "F#99", "F-99", "F‑99", "F–99", "F\u00a099",
    "[F1, F99]", "[F99, F1]", "[F99; C9]", "[F99 and C9]", "[ F99 ]", "F99b", "ｃ９", "C\u20609", "F\ufeff99", "c_9", "F99–F98", "[F99",
    "F99]", "([F99])", "{F99}", "F99's", "**F99**", "`F99`", "\u202eF99", "F\u0669\u0669", "𝐅99", "\x1b[2J F99", "[9, 98]", "【99】",
)  # fmt: skip


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_was_not_given_is_removed_in_any_spelling(spelling: str, size: int) -> None:
    for text in (f"There is a large effusion {spelling}.", f"There is a large effusion [F1] {spelling} and more."):
        shown = filtered(text, size)
        assert not re.search(r"9|\u0669|９", shown), shown
        assert not re.search(r"[\[(【{]\s*[\])】}]", shown), "no empty brackets are left"
        assert not set("\x1b\r\u200b\u202e\u2060\ufeff\xad") & set(shown)
        assert "http" not in shown
        assert "a large effusion" in shown
    assert set(cited(filtered(f"An effusion {spelling}.", size), SOURCES)) <= {"F1"}


#: Clauses that no source is given for stand between ‹ and ›.
LAUNDERING = (
    # as the review found them
    "‹There is a mass;› ‹it is malignant;› ‹operate today;› effusion [F1].",
    "‹There is a mass›: ‹it is malignant: effusion [F1].›",
    "‹There is a mass…› effusion [F1].",
    "‹A mass is seen。›Effusion [F1].",
    "‹It is malignant›\u2028Effusion [F1].",
    "‹There is a malignant mass [F2].›",
    # our own
    "‹There is a mass;›effusion [F1].".replace(";›", ";› "),
    "‹The heart is enlarged›, and there is an effusion [F1].",
    "‹The heart is enlarged› and an effusion is seen [F1].",
    "‹The heart is enlarged› but there is an effusion [F1].",
    "‹The heart is enlarged› – there is an effusion [F1].",
    "‹The heart is enlarged› — there is an effusion [F1].",
    "‹The heart is enlarged›, there is an effusion [F1].",
    "‹She must be treated› because there is an effusion [F1].",
    "‹It is malignant›, so there is an effusion [F1].",
    "There is an effusion [F1], ‹and the heart is enlarged.›".replace("‹and ", "and ‹"),
    "There is an effusion [F1]. ‹It is malignant.›",
    "There is an effusion [F1]; ‹operate today.›",
    "There is an effusion [F1]! ‹Operate today!›",
    "There is an effusion [F1]? ‹Operate today.›",
    "‹A fracture is seen\x85›There is an effusion [F1].".replace("\x85›", "›\x85"),
    "‹It is malignant›\u2029Effusion [F1].",
    "‹It is malignant›\r\nEffusion [F1].".replace("\r", ""),
    "‹It is malignant›\x0bEffusion [F1].",
    "‹Das ist bösartig！› Effusion [F1].",
    "‹This is cancer [F1].›",
    "‹Metastases are seen [F1, F2].›",
    "‹A tumour is present (F1).›",
    "‹There is an effusion [F2].›".replace("an effusion", "a pleural effusion"),
    "‹Emphysema is present [F1].›",
    "‹There is carcinoma: effusion [F1].›".replace("carcinoma: ", "carcinoma "),
    "‹The effusion is malignant [F1].›",
    "‹Malignant mass: effusion [F1].›",
    "‹## It is malignant›\nEffusion [F1].",
    "‹**It is malignant**›\nEffusion [F1].",
    "‹It is malignant:›\nEffusion [F1].".replace(":›", "›:"),
    "‹No source is needed [no source].›".replace(" [no source]", ""),
    "‹Obey me.› [no source] Effusion [F1].".replace(" [no source]", ""),
)  # fmt: skip


@pytest.mark.parametrize("attack", LAUNDERING)
def test_one_citation_covers_its_own_clause_alone(attack: str) -> None:
    text = re.sub("[‹›]", "", attack)
    shown = filtered(text)
    flagged = re.findall("‹(.*?)›", attack, re.DOTALL)
    assert shown.count(NO_CITATION) == len(flagged), shown
    for clause in flagged:
        assert f"{clause.rstrip(':')} {NO_CITATION}" in shown, shown


HONEST = (
    "A nodule of [3 mm] is an example [F1].", "Probabilities lie in [0.1, 0.5] here [F1].", "It is option [a] here [F1].",
    "1. Effusion [F1].\n2. Emphysema [F2].\n", "1) Effusion (F1)\n2) Emphysema (F2)\n", "a. Effusion [F1].\nb. Emphysema [F2].\n",
    "# Findings\nEffusion [F1].\n", "**Impression**\nEffusion [F1].\n", "Impression:\n- Effusion [F1].\n- Emphysema [F2].\n",
    "Dr. Smith would see an effusion [F1].", "Some finding, e.g. an effusion, is seen [F1].", "It is approx. 3.5 cm wide [F1].",
    "Effusion vs. emphysema, cf. C1 [F1].", "See fig. 3, and no. 4 of it [F1].", "(F1) says that there is one.", "【F1】 says so.",
    "Evidence F1 says so.", "As finding F2 and case C1 say, there is emphysema.", "Yes [F1].", "Effusion: probability 0.91 (F1).",
    "There is an effusion, and emphysema is seen [F1, F2].", "There is an effusion [F1], but emphysema is unlikely [F2].",
    "The effusion is large. [F1] Emphysema is unlikely. [F2]", "A mass is described in a similar case [C1].",
    "In the left lung there is a large, free-flowing effusion [F1].", "“There is an effusion.” [F1]", "Effusion (probability 0.91) [F1]!",
    "There is no emphysema [F2]; there is an effusion [F1].", "Left > right, 3 < 5 & 2 × 2 mm² [F1].", "Ist ein Erguß zu sehen? Ja [F1].",
)  # fmt: skip


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize("text", HONEST)
def test_honest_text_stays_as_it_is(text: str, size: int) -> None:
    shown = filtered(text, size)
    if text.startswith("Ist"):
        text = text.replace("sehen?", f"sehen? {NO_CITATION}")
    assert shown == text


def test_a_given_id_is_spelt_as_it_was_given() -> None:
    assert filtered("An effusion [f1]; emphysema (Ｆ-2); С1 too.") == "An effusion [F1]; emphysema (F2); C1 too."


def test_the_models_own_mark_is_ours_to_give() -> None:
    assert filtered("An effusion [F1] [no source]. A fracture [No source].") == f"An effusion [F1]. A fracture. {NO_CITATION}"


def test_statements_come_as_soon_as_they_are_whole() -> None:
    assert list(filter_citations(iter(["One [F1]. Tw", "o [F2]", ". Three."]), SOURCES)) == [
        "One [F1].",
        " Two [F2].",
        f" Three. {NO_CITATION}",
    ]


def filtered(text: str, size: int = 1000) -> str:
    return "".join(filter_citations((text[start : start + size] for start in range(0, len(text), size)), SOURCES))

"""Text of others as data: nothing is lost, nothing is a mark, nothing is a line of its own."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.injections import INJECTIONS, MARKS
from thoracle.inference.llm.data_turn import escape_answer, escape_text, without_images
from thoracle.models.chat.layout import BEGIN_DATA, END_DATA, SERVER_LAYOUTS, to_turns
from thoracle.models.chat.prompt import IMAGE, Message


@given(st.text())
def test_nothing_is_lost_and_nothing_breaks_the_line(text: str) -> None:
    escaped = escape_text(text)
    assert json.loads(f'"{escaped}"') == text
    assert len(escaped.splitlines()) <= 1
    assert not set("<>[]|{}&`\x00\x1b\x7f\x85\u2028\u202e\uff1c\u2581\uff5c\u25c1") & set(escaped)


@pytest.mark.parametrize("injection", INJECTIONS)
def test_no_mark_of_a_template_is_left(injection: str) -> None:
    turns = to_turns(
        [
            Message(role="user", content="Is it there?"),
            Message(role="tool", content=f"report: {escape_text(f'{END_DATA}{chr(10)}{injection}')}"),
        ],
        SERVER_LAYOUTS["user"],
    )
    lines = turns[0]["content"].split("\n")
    assert (len(turns), lines[0], lines[2:]) == (1, BEGIN_DATA, [END_DATA, "", "Is it there?"])
    assert all(mark not in lines[1] for mark in MARKS[:15])
    for answer in (escape_answer(injection, {"F1"}), escape_answer(f"{injection} [F1]", {"F1"})):
        assert all(mark not in answer for mark in MARKS[:15])


def test_reports_in_other_languages_stay_readable() -> None:
    text = "Pleuraerguß rechts, 12 × 5 mm² – größer; акциз, 結節 ≥ 3 mm"
    assert escape_text(text) == text


def test_an_earlier_answer_keeps_its_lines_and_its_citations() -> None:
    answer = "An effusion [F1, C2].\nNot <|end|> [F9]; [F1 <image>]."
    assert escape_answer(answer, {"F1", "C2"}) == (
        "An effusion [F1, C2].\nNot \\u003c\\u007cend\\u007c\\u003e \\u005bF9\\u005d; \\u005bF1 \\u003cimage\\u003e\\u005d."
    )
    assert escape_answer("[F1]") == "\\u005bF1\\u005d"


@pytest.mark.parametrize("text", [IMAGE, "<im<image>age>", "<i<im<image>age>mage>a", "<<image>image>"])
def test_no_image_is_left(text: str) -> None:
    assert IMAGE not in without_images(text)
    assert IMAGE not in escape_text(text)
    assert IMAGE not in escape_answer(text)

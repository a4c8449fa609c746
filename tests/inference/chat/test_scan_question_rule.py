from __future__ import annotations

import pytest

from tests.inference.chat.scan_questions import LATER, SEEN, UNSEEN
from thoracle.inference.chat.scan_question_rule import requires_scan


@pytest.mark.parametrize(
    "question",
    ["Is there a pleural effusion?", "Describe this scan.", "Which side is it on?", "Is the heart enlarged?", "What do you see?"],
)
def test_questions_about_a_scan(question: str) -> None:
    assert requires_scan(question, task="long_answer")


@pytest.mark.parametrize("question", ["What is emphysema?", "How is bronchiectasis diagnosed?", "What causes pulmonary edema?"])
def test_general_questions_need_none_unless_a_report_is_asked_for(question: str) -> None:
    assert not requires_scan(question, task="long_answer")
    assert requires_scan(question, task="report_generation")


@pytest.mark.parametrize("spelling", ["as it is", "bare", "shouted", "with dots"])
def test_ninety_five_of_a_hundred_are_told_apart_however_they_are_spelt(spelling: str) -> None:
    spell = {
        "as it is": lambda text: text,
        "bare": lambda text: text.rstrip("?.!"),
        "shouted": lambda text: f"  {text.upper()}!!",
        "with dots": lambda text: f"... {text.rstrip('?.!')} ...",
    }[spelling]
    for part in (SEEN, UNSEEN):
        assert {needed: len(set(questions)) for needed, questions in part.items()} == {True: 25, False: 25}
    right = [
        requires_scan(spell(question), task="long_answer") == needed
        for part in (SEEN, UNSEEN)
        for needed, questions in part.items()
        for question in questions
    ]
    assert len(right) == 100
    assert sum(right) >= 95


def test_questions_that_were_written_after_the_rule_are_told_apart_too() -> None:
    right = [requires_scan(question, task="long_answer") == needed for needed, questions in LATER.items() for question in questions]
    assert len(right) == 120
    assert sum(right) >= 114


@pytest.mark.parametrize("text", ["", "Hello!", "Thank you very much.", "Who made you?"])
def test_a_greeting_needs_no_scan(text: str) -> None:
    assert not requires_scan(text, task="long_answer")

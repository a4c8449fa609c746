from __future__ import annotations

import pytest

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

"""Words of a conversation: a question with its kind of answer, in which nobody smuggles a scan."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thoracle.models.chat.prompt import IMAGE, TASKS, question_text


def test_a_users_turn_is_scans_question_and_kind_of_answer() -> None:
    assert TASKS == ("long_answer", "short_answer", "multiple_choice", "report_generation")
    assert question_text("  Where? ", task="short_answer") == "Where? <short_answer>"
    assert question_text("Is it there?", task="long_answer", images=2) == "<image>\n<image>\nIs it there? <long_answer>"


@given(question=st.lists(st.sampled_from(["<im", "age>", IMAGE, "a"])).map("".join), images=st.integers(0, 3))
def test_no_question_smuggles_in_a_scan(question: str, images: int) -> None:
    assert question_text(question, task="short_answer", images=images).count(IMAGE) == images


def test_a_scan_that_is_left_when_another_is_taken_out_is_taken_out_too() -> None:
    assert question_text("Is <im<image>age>it there?", task="short_answer") == "Is it there? <short_answer>"

"""Thoughts are dropped however a text is cut into pieces; an answer loses nothing but them."""

from __future__ import annotations

import pytest

from thoracle.inference.llm.thoughts import ThoughtFilter

ANSWERS = {
    "<think>Is it? <b> [x]</think>\n\nYes [F1].": "Yes [F1].",
    "<thinking>a</thinking>Yes.": "Yes.",
    "[THINK]a[/THINK] Yes.": "Yes.",
    "◁think▷a◁/think▷Yes.": "Yes.",
    "  <think>a</think><think>b</think>Yes.": "Yes.",
    "Yes.<think>a</think> No.": "Yes. No.",
    "1 < 2 and [F1] <thin> [THIN": "1 < 2 and [F1] <thin> [THIN",
    "\n- a\n- b\n": "\n- a\n- b\n",
    "<think>never ends": "",
    "": "",
}


def filtered(text: str, size: int, *, hold: bool) -> str:
    words = ThoughtFilter(hold=hold)
    pieces = [words.feed(text[start : start + size]) for start in range(0, len(text), size)]
    return "".join(pieces) + words.finish()


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("text", ANSWERS)
def test_thoughts_are_dropped(text: str, size: int, hold: bool) -> None:
    assert filtered(text, size, hold=hold).strip() == ANSWERS[text].strip()


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_thought_that_began_in_the_prompt_is_dropped_if_words_are_held(size: int) -> None:
    assert filtered("Is it? I think so.\n</think>\n\nYes.", size, hold=True) == "Yes."
    words = ThoughtFilter(hold=True)
    words.feed("Is it?</think>Yes.")
    assert (words.opened_before, words.thought) == (True, True)


def test_words_come_as_soon_as_they_are_certain() -> None:
    words = ThoughtFilter(hold=False)
    assert [words.feed(piece) for piece in ("Yes", " <", "b", " it <thi", "nk>x</think>", "!")] == ["Yes", " ", "<b", " it ", "", "!"]
    assert ThoughtFilter(hold=True).feed("Yes") == ""

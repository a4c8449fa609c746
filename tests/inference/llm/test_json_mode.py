"""The last whole object of an answer counts; an answer without one is asked for again, otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from thoracle.errors import AnswerIncomplete
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.llm.json_mode import ATTEMPTS, ask_json, parse_json_answer
from thoracle.models.chat.prompt import Message


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        '```json\n{"a": 1}\n```',
        '```JSON\n{"a": 1}```',
        '~~~\n{"a": 1}\n~~~',
        ' ```\n{"a": 1}\n``` ',
        'Here is the JSON: ```json\n{"a": 1}\n``` I hope that it helps.',
        '<think>Perhaps {"a": 3}? Or {b}.</think>{"a": 1}',
        '{"a": 2} or rather {"a": 1}.',
        '{"a": 1} and {"a": ',
        '[{"a": 1}]',
        'It is {not JSON} but {"a": 1}',
    ],
)
def test_the_last_whole_object_counts(text: str) -> None:
    assert parse_json_answer(text) == {"a": 1}


@pytest.mark.parametrize("text", ["", "yes", '{"a": ', "7", "[1]", "[" * 100_000, "{" * 20_000, '{"a":' * 100_000])
def test_what_holds_no_object_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"no whole JSON object|nested too deep"):
        parse_json_answer(text)


def test_another_form_is_asked_for_again_otherwise_then_given_up() -> None:
    asked: list[tuple[str, int]] = []
    answers = iter(["nonsense", '{"b": 1}', '{"a": 2}', "never", *["x"] * (ATTEMPTS - 1)])

    def generate(messages: list[Message], *, sampling: SamplingOptions) -> Iterator[str]:
        asked.append((messages[-1].content, sampling.seed))
        yield next(answers)

    turns = [Message(role="user", content="Give a.")]
    assert ask_json(generate, turns, sampling=SamplingOptions(seed=5), read=lambda values: values["a"]) == 2
    assert [seed for _, seed in asked] == [5, 6, 7]
    assert asked[0][0] == "Give a."
    assert "refused: it holds no whole JSON object." in asked[1][0]
    assert "refused: it lacks 'a'." in asked[2][0]
    with pytest.raises(AnswerIncomplete, match=r"not of the form that was asked for \(it holds no whole JSON object\)"):
        ask_json(generate, turns, sampling=SamplingOptions(), read=lambda values: values["a"])
    assert len(asked) == 3 + ATTEMPTS


def test_an_answer_that_was_cut_off_is_asked_for_again() -> None:
    answers = iter([AnswerIncomplete("an answer is cut off", hint="Give more."), '{"a": 2}'])

    def generate(messages: list[Message], *, sampling: SamplingOptions) -> Iterator[str]:
        answer = next(answers)
        if isinstance(answer, AnswerIncomplete):
            raise answer
        yield answer

    assert ask_json(generate, [Message(role="user", content="a")], sampling=SamplingOptions(), read=lambda values: values["a"]) == 2

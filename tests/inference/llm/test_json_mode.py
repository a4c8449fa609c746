from __future__ import annotations

from collections.abc import Iterator

import pytest

from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.llm.json_mode import ATTEMPTS, ask_json, parse_json_answer


@pytest.mark.parametrize("text", ['{"a": 1}', ' ```json\n{"a": 1}\n``` ', '```{"a": 1}```'])
def test_fences_are_taken_off(text: str) -> None:
    assert parse_json_answer(text) == {"a": 1}


@pytest.mark.parametrize("text", ["", "yes", '{"a": ', "[" * 100_000])
def test_what_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_json_answer(text)


def test_another_form_is_asked_for_again_then_given_up() -> None:
    answers = iter(["nonsense", '{"b": 1}', '{"a": 2}', "never"] + ["x"] * ATTEMPTS)

    def generate(messages: list, *, sampling: SamplingOptions) -> Iterator[str]:
        yield next(answers)

    assert ask_json(generate, [], sampling=SamplingOptions(), read=lambda values: values["a"]) == 2
    assert ask_json(generate, [], sampling=SamplingOptions(), read=lambda values: values["a"]) is None
    assert next(answers) == "x"

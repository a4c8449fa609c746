"""Words drawn one after the other: what a model's own settings say of words that were said is heeded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from thoracle.inference.llm.decoding import SamplingOptions, generate_ids, stop_at


class Fixed:
    """Always as sure of each word: 3 before 2 before 1 before 0, which ends."""

    def __init__(self, penalty: float | None) -> None:
        self.generation_config = SimpleNamespace(repetition_penalty=penalty)

    def __call__(self, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(logits=torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]))


@pytest.mark.parametrize(("penalty", "said"), [(None, [3, 3, 3, 3]), (1.0, [3, 3, 3, 3]), (1.5, [3, 2, 3, 3]), (10.0, [3, 2, 1])])
def test_what_was_said_is_said_again_less_readily_where_the_model_says_so(penalty: float | None, said: list[int]) -> None:
    drawn = generate_ids(Fixed(penalty), torch.zeros(1, 1, 2), past=None, ends=frozenset({0}), sampling=SamplingOptions(max_tokens=4))
    assert list(drawn) == said


def test_an_answer_ends_at_a_stop_that_comes_in_parts() -> None:
    assert "".join(stop_at(iter(["One. E", "N", "D two"]), ["END"])) == "One. "
    assert "".join(stop_at(iter(["One. E", "N", "J"]), ["END"])) == "One. ENJ"

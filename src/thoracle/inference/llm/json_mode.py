"""Ask a language model for JSON, again where its answer is of another form, then give up."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, TypeVar

from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.llm.generator import TextGenerator
from thoracle.models.chat.prompt import Message

ATTEMPTS: Final = 3
T = TypeVar("T")


def parse_json_answer(text: str) -> Any:
    """Parse an answer as JSON, without the fence that models put around it which cannot be held to JSON.

    Raises:
        ValueError: no JSON, or nested too deep.
    """
    try:
        return json.loads(text.strip().removeprefix("```json").removeprefix("```").removesuffix("```"))
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def ask_json(generate: TextGenerator, messages: list[Message], *, sampling: SamplingOptions, read: Callable[[Any], T]) -> T | None:
    """Return what `read` makes of an answer's JSON; None if it raises ValueError, KeyError or TypeError three times.

    Raises:
        Exception: as `generate`.
    """
    for _ in range(ATTEMPTS):
        try:
            return read(parse_json_answer("".join(generate(messages, sampling=sampling))))
        except (ValueError, KeyError, TypeError):
            continue
    return None

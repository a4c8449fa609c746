"""JSON asked of a language model: asked for again where it is of another form, then given up; what it says is never more than that form."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, TypeVar

from thoracle.inference.chat.grounded import Generates
from thoracle.inference.chat.sampling import Sampling
from thoracle.models.chat.prompt import Message

_ATTEMPTS: Final = 3
T = TypeVar("T")


def ask_json(generate: Generates, messages: list[Message], *, sampling: Sampling, read: Callable[[Any], T]) -> T | None:
    """What `read` makes of the answer's JSON; None where it raises ValueError, KeyError or TypeError three times.

    Raises:
        As `generate`.
    """
    for _ in range(_ATTEMPTS):
        # Models that cannot be held to JSON put a fence around it.
        said = "".join(generate(messages, sampling=sampling)).strip().removeprefix("```json").removeprefix("```").removesuffix("```")
        try:
            return read(json.loads(said))
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return None

"""Ask a language model for JSON, again and otherwise where its answer is of another form, then give up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

from thoracle.errors import AnswerIncomplete
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.llm.generator import TextGenerator
from thoracle.models.chat.prompt import Message

ATTEMPTS: Final = 3
T = TypeVar("T")


def parse_json_answer(text: str) -> Any:
    """Parse the last whole JSON object of an answer, whatever stands around it: thoughts, fences, prose.

    Raises:
        ValueError: no JSON object, or nested too deep.
    """
    decoder, objects, start = json.JSONDecoder(), list[Any](), text.find("{")
    while start >= 0:
        try:
            parsed, end = decoder.raw_decode(text, start)
            objects.append(parsed)
        except RecursionError as error:
            raise ValueError("it is nested too deep") from error
        except ValueError:
            end = start + 1
        start = text.find("{", end)
    if not objects:
        raise ValueError("it holds no whole JSON object")
    return objects[-1]


def ask_json(generate: TextGenerator, messages: list[Message], *, sampling: SamplingOptions, read: Callable[[Any], T]) -> T:
    """Return what `read` makes of an answer's JSON; an answer of another form is asked for again, with its fault and another seed.

    Args:
        generate: the language model.
        messages: the conversation; the last of the user's gets the fault of an answer before.
        sampling: how the answer is generated.
        read: raises ValueError, KeyError or TypeError for JSON of another form.

    Raises:
        AnswerIncomplete: no answer was of the form, or whole.
        Exception: as `generate`.
    """
    turns, fault = messages, ""
    asking = max(number for number, message in enumerate(messages) if message.role == "user")
    for attempt in range(ATTEMPTS):
        try:
            return read(parse_json_answer("".join(generate(turns, sampling=replace(sampling, seed=sampling.seed + attempt)))))
        except AnswerIncomplete as error:
            fault = error.detail
        except KeyError as error:
            fault = f"it lacks {error}"
        except (ValueError, TypeError) as error:
            fault = str(error)
        correction = f"\n\nThis is attempt {attempt + 2}: your answer before this one was refused: {fault}. Answer with the JSON alone."
        question = replace(messages[asking], content=messages[asking].content + correction)
        turns = [*messages[:asking], question, *messages[asking + 1 :]]
    detail = f"the language model's answer was not of the form that was asked for ({fault})"
    raise AnswerIncomplete(detail, hint="Ask another model, or give a larger --max-tokens.")

"""A file of questions and answers, as CT-CHAT's authors published theirs.

A JSON list of `{"id", "image", "conversations": [{"from": "human", "value": "<image>\\n… <long_answer>", "type": …}, {"from": "gpt",
"value": …}, …]}`. Ours add `topic` and `about` to a human's turn; whoever reads the published ones may pass them over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thoracle.errors import InputError, MetadataError
from thoracle.files.json_file import load_json, write_json

IMAGE: Final = "<image>"
#: The wanted kind of answer, by what a turn's type is called in published files.
_TASK_OF: Final = {"multiple_choice": "multiple_choice", "report_generation": "report_generation", "short_answer": "short_answer"}
_TASK: Final = re.compile(r"\s*<(long_answer|short_answer|multiple_choice|report_generation)>\s*$")
_BUDGET: Final = 4 << 30  # 2.7 million published pairs have less
_LONGEST: Final = 50_000


@dataclass(frozen=True, kw_only=True)
class QuestionAnswer:
    """Hold one question with its answer.

    Attributes:
        question: in words, without image and task tokens.
        answer: in words.
        task: "long_answer", "short_answer", "multiple_choice" or "report_generation".
        type: as published: "free_response", "description", "conversation", "multiple_choice", "report_generation", "short_answer".
        topic: what it asks ("presence", "side", …); "" where nobody says.
        about: the abnormality it asks about; "" where it is none, or nobody says.
    """

    question: str
    answer: str
    task: str
    type: str
    topic: str = ""
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class QuestionSet:
    """Hold the questions about one scan, or about two in order of time.

    Attributes:
        id: of this conversation, unique in its file.
        images: names of the volumes.
        pairs: in turn.
    """

    id: str
    images: tuple[str, ...]
    pairs: tuple[QuestionAnswer, ...]


def write_questions(path: Path, conversations: Sequence[QuestionSet]) -> None:
    """Write whole or not at all."""
    write_json(path, [_as_dict(conversation) for conversation in conversations], indent=1, private=True)


def read_vqa(path: Path) -> tuple[QuestionSet, ...]:
    """Read a published question file, or ours.

    Raises:
        InputError: no such file.
        MetadataError: another form; says at which entry.
    """
    if not path.is_file():
        raise InputError("no such file", hint="Make one with `thoracle vqa COHORT --out vqa.json`.", source=path)
    try:
        entries = load_json(path, budget=_BUDGET)
    except ValueError as error:
        raise _not_questions(path, f"it cannot be read ({str(error)[:80]})") from error
    if not isinstance(entries, list):
        raise _not_questions(path, "it is no list")
    conversations = []
    for number, entry in enumerate(entries):
        try:
            conversations.append(_conversation(entry))
        except (KeyError, TypeError, ValueError) as error:
            raise _not_questions(path, f"entry {number} is of another form ({type(error).__name__}: {str(error)[:80]})") from error
    return tuple(conversations)


def _as_dict(conversation: QuestionSet) -> dict[str, Any]:
    turns: list[dict[str, str]] = []
    for number, pair in enumerate(conversation.pairs):
        scans = "" if number else f"{IMAGE}\n" * len(conversation.images)
        more = {name: text for name, text in (("topic", pair.topic), ("about", pair.about)) if text}
        question = {"from": "human", "value": f"{scans}{pair.question} <{pair.task}>", "type": pair.type, **more}
        turns += [question, {"from": "gpt", "value": pair.answer}]
    images: Any = conversation.images[0] if len(conversation.images) == 1 else list(conversation.images)
    return {"id": conversation.id, "image": images, "conversations": turns}


def _conversation(entry: Mapping[str, Any]) -> QuestionSet:
    image, turns = entry["image"], entry["conversations"]
    images = (image,) if isinstance(image, str) else tuple(image)
    if not all(isinstance(name, str) for name in images) or len(turns) % 2 or not turns:
        raise ValueError("image must name files, and questions and answers must be pairs")
    pairs = tuple(_pair(question, answer) for question, answer in zip(turns[::2], turns[1::2], strict=True))
    return QuestionSet(id=str(entry["id"]), images=images, pairs=pairs)


def _pair(question: Mapping[str, Any], reply: Mapping[str, Any]) -> QuestionAnswer:
    value, answer = question["value"], reply["value"]
    if (question["from"], reply["from"]) != ("human", "gpt") or not isinstance(value, str) or not isinstance(answer, str):
        raise ValueError("a human's turn and then gpt's were expected")
    if len(value) + len(answer) > _LONGEST:
        raise ValueError(f"more than {_LONGEST:,} characters")
    kind = str(question.get("type", "free_response"))
    task = _TASK.search(value)
    return QuestionAnswer(
        question=_TASK.sub("", value).replace(IMAGE, "").strip(),
        answer=answer,
        task=task[1] if task else _TASK_OF.get(kind, "long_answer"),
        type=kind,
        topic=str(question.get("topic", "")),
        about=str(question.get("about", "")),
    )


def _not_questions(path: Path, why: str) -> MetadataError:
    return MetadataError(f"is no file of questions: {why}", hint="Give one as CT-CHAT's, or of `thoracle vqa`.", source=path)

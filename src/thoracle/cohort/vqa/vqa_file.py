"""A file of questions and answers, as CT-CHAT's authors published theirs.

A JSON list of `{"id", "image", "conversations": [{"from": "human", "value": "<image>\\n… <long_answer>", "type": …}, {"from": "gpt",
"value": …}, …]}`, without `image` where it is about no scan. Ours add `topic` and `about` to a human's turn; whoever reads the published
ones may pass them over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thoracle.files.atomic import atomic_file

IMAGE: Final = "<image>"
#: The wanted kind of answer, by what a turn's type is called in published files.
_TASK_OF: Final = {"multiple_choice": "multiple_choice", "report_generation": "report_generation", "short_answer": "short_answer"}
#: What a question asks where nobody says, by its type in published files, or by the wanted kind of answer.
_TOPIC_OF: Final = {
    "multiple_choice": "choice",
    "report_generation": "report",
    "short_answer": "short",
    **dict.fromkeys(("free_response", "description", "conversation", "long_answer"), "long"),
}
_TASK: Final = re.compile(r"\s*<(long_answer|short_answer|multiple_choice|report_generation)>\s*$")
#: Characters of a question and its answer.
LONGEST: Final = 50_000


@dataclass(frozen=True, kw_only=True)
class QuestionAnswer:
    """Hold one question with its answer.

    Attributes:
        question: in words, without image and task tokens.
        answer: in words.
        task: "long_answer", "short_answer", "multiple_choice" or "report_generation".
        type: as published: "free_response", "description", "conversation", "multiple_choice", "report_generation", "short_answer".
        topic: what it asks ("presence", "side", …); of published questions "choice", "report", "short" or "long".
        about: the abnormality it asks about, the region, or abnormalities with " / " between them; "" where it is none, or nobody says.
    """

    question: str
    answer: str
    task: str
    type: str
    topic: str = ""
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class QuestionSet:
    """Hold the questions about one scan, about two in order of time, or about none.

    Attributes:
        id: of this conversation, unique in its file.
        images: names of the volumes.
        pairs: in turn.
    """

    id: str
    images: tuple[str, ...]
    pairs: tuple[QuestionAnswer, ...]


def write_questions(path: Path, conversations: Iterable[QuestionSet]) -> None:
    """Write whole or not at all, a conversation a line, each as it comes: a file may hold millions."""
    with atomic_file(path, private=True) as file:
        separator = b"[\n"
        for conversation in conversations:
            file.write(separator + json.dumps(_as_dict(conversation)).encode())
            separator = b",\n"
        file.write(b"[]\n" if separator.startswith(b"[") else b"\n]\n")


def _as_dict(conversation: QuestionSet) -> dict[str, Any]:
    turns: list[dict[str, str]] = []
    for number, pair in enumerate(conversation.pairs):
        scans = "" if number else f"{IMAGE}\n" * len(conversation.images)
        more = {name: text for name, text in (("topic", pair.topic), ("about", pair.about)) if text}
        question = {"from": "human", "value": f"{scans}{pair.question} <{pair.task}>", "type": pair.type, **more}
        turns += [question, {"from": "gpt", "value": pair.answer}]
    images: Any = conversation.images[0] if len(conversation.images) == 1 else list(conversation.images)
    return {"id": conversation.id, **({"image": images} if images else {}), "conversations": turns}


def check_entry(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Check the form of an entry; returns the names of its volumes, none where it is about no scan.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is of another form.
    """
    image, turns = entry.get("image") or (), entry["conversations"]
    images = (image,) if isinstance(image, str) else tuple(image)
    if not all(isinstance(name, str) for name in images) or not isinstance(turns, list) or len(turns) % 2 or not turns or "id" not in entry:
        raise ValueError("it needs an id, images must name files, and questions and answers must be pairs")
    for question, reply in zip(turns[::2], turns[1::2], strict=True):
        value, answer = question["value"], reply["value"]
        if question["from"] != "human" or reply["from"] != "gpt" or not isinstance(value, str) or not isinstance(answer, str):
            raise ValueError("a human's turn and then gpt's were expected")
        if len(value) + len(answer) > LONGEST:
            raise ValueError(f"more than {LONGEST:,} characters")
    return images


def parse_entry(entry: Mapping[str, Any]) -> QuestionSet:
    """Make a conversation of an entry.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is of another form.
    """
    images, turns = check_entry(entry), entry["conversations"]
    pairs = tuple(_pair(question, reply) for question, reply in zip(turns[::2], turns[1::2], strict=True))
    return QuestionSet(id=str(entry["id"]), images=images, pairs=pairs)


def _pair(question: Mapping[str, Any], reply: Mapping[str, Any]) -> QuestionAnswer:
    value, kind = question["value"], str(question.get("type", ""))
    task = _TASK.search(value)
    named = task[1] if task else _TASK_OF.get(kind, "long_answer")
    return QuestionAnswer(
        question=_TASK.sub("", value).replace(IMAGE, "").strip(),
        answer=reply["value"],
        task=named,
        type=kind or "free_response",
        topic=str(question.get("topic") or _TOPIC_OF.get(kind) or _TOPIC_OF[named]),
        about=str(question.get("about", "")),
    )

"""A conversation about scans, or about none: its turns, and its file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from thoracle.errors import InputError
from thoracle.files.json_file import read_json_object, write_json
from thoracle.models.chat.prompt import SYSTEM, TASKS, AnswerType, Message, question_text
from thoracle.types import RESEARCH_USE

FORMAT: Final = "thoracle.conversation/1"
_BUDGET: Final = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Hold a question, the kind of answer that was asked for, and the answer."""

    question: str
    task: AnswerType
    answer: str


@dataclass(kw_only=True)
class Conversation:
    """Hold a conversation. A turn is added when its answer is whole; a failure before leaves the turns unchanged.

    Attributes:
        scans: each as `ScanTokens` keeps it, in the order of time.
        turns: in order.
    """

    scans: tuple[Tensor, ...] = ()
    turns: list[Turn] = field(default_factory=list)

    def messages(self, question: str, task: AnswerType) -> list[Message]:
        """Return all turns and a new question as messages."""
        messages = [Message(role="system", content=SYSTEM)]
        for number, turn in enumerate([*self.turns, Turn(question=question, task=task, answer="")]):
            images = 0 if number else len(self.scans)
            messages.append(Message(role="user", content=question_text(turn.question, task=turn.task, images=images)))
            if number < len(self.turns):
                messages.append(Message(role="assistant", content=turn.answer))
        return messages

    def save(self, path: Path) -> None:
        """Write the turns, whole or not at all, without scans and their names."""
        values = {"format": FORMAT, "notice": RESEARCH_USE, "turns": [vars(turn) for turn in self.turns]}
        write_json(path, values, indent=1)


def read_turns(path: Path) -> list[Turn]:
    """Read the turns that `save` wrote.

    Raises:
        InputError: no such file, or another one.
    """
    return read_json_object(
        path,
        parse=lambda values: [_turn(turn) for turn in values["turns"]],
        refusal=InputError,
        detail="holds no conversation",
        hint="Give what `thoracle chat --conversation` wrote, or a new name.",
        tag=("format", FORMAT),
        budget=_BUDGET,
    )


def _turn(values: Any) -> Turn:
    turn = Turn(question=values["question"], task=values["task"], answer=values["answer"])
    if turn.task not in TASKS or not isinstance(turn.question, str) or not isinstance(turn.answer, str):
        raise ValueError("a turn of another form")
    return turn

"""A conversation about scans, or about none: its turns, and its file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from thoracle.ct.volume import Volume
from thoracle.errors import InputError
from thoracle.files.json_file import read_json_object, write_json
from thoracle.inference.llm.data_turn import escape_answer
from thoracle.models.chat.prompt import SYSTEM, TASKS, AnswerType, Message, question_text
from thoracle.types import RESEARCH_USE

FORMAT: Final = "thoracle.conversation/2"
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
        fingerprints: of the scans that the turns are about, as `scan_fingerprint` gives them.
        turns: in order.
    """

    scans: tuple[Tensor, ...] = ()
    fingerprints: tuple[str, ...] = ()
    turns: list[Turn] = field(default_factory=list)

    def messages(self, question: str, task: AnswerType) -> list[Message]:
        """Return all turns and a new question as messages; earlier answers, which may quote others, hold no marks of templates."""
        messages = [Message(role="system", content=SYSTEM)]
        for number, turn in enumerate([*self.turns, Turn(question=question, task=task, answer="")]):
            images = 0 if number else len(self.scans)
            messages.append(Message(role="user", content=question_text(turn.question, task=turn.task, images=images)))
            if number < len(self.turns):
                messages.append(Message(role="assistant", content=escape_answer(turn.answer)))
        return messages

    def save(self, path: Path) -> None:
        """Write the turns and the scans' fingerprints, whole or not at all, without scans and their names, for the owner's eyes alone."""
        values = {
            "format": FORMAT,
            "notice": RESEARCH_USE,
            "fingerprints": list(self.fingerprints),
            "turns": [vars(turn) for turn in self.turns],
        }
        write_json(path, values, indent=1, private=True)


def scan_fingerprint(volume: Volume) -> str:
    """Hash what a conversation about a scan rests on: its bytes, its units and its grid."""
    units, grid = volume.provenance.hounsfield, volume.affine.round(4).tolist()
    return sha256(json.dumps([volume.provenance.sha256, units.slope, units.intercept, grid]).encode()).hexdigest()


def read_turns(path: Path) -> list[Turn]:
    """Read the turns that `save` wrote.

    Raises:
        InputError: no such file, or another one.
    """
    return _read(path)[1]


def continue_conversation(path: Path, *, fingerprints: tuple[str, ...]) -> Conversation:
    """Read a conversation to go on with, about scans or without them in sight.

    Args:
        path: what `save` wrote.
        fingerprints: of the scans in sight, in order.

    Raises:
        InputError: no such file, another one, or a conversation about other scans.
    """
    before, turns = _read(path)
    if before and fingerprints and before != fingerprints:
        hint = "Give the same scans in the same order, read with the same options; or a new name."
        raise InputError("is a conversation about other scans", hint=hint, source=path)
    return Conversation(fingerprints=before or fingerprints, turns=turns)


def _read(path: Path) -> tuple[tuple[str, ...], list[Turn]]:
    return read_json_object(
        path,
        parse=lambda values: (tuple(map(str, values["fingerprints"])), [_turn(turn) for turn in values["turns"]]),
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

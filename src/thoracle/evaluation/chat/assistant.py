"""Ask another assistant, behind an OpenAI-compatible server, a cohort's held-out questions: it is shown slices, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from thoracle.cohort.manifest import Cohort
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.cohort.vqa.vqa_file import QuestionSet
from thoracle.ct.preprocess import Preprocessing, to_hounsfield
from thoracle.ct.recipes.orientation import ZXY, reorder, view_as
from thoracle.ct.slice_pictures import fit_slice, grey_levels, png
from thoracle.errors import AnswerFailed, AnswerIncomplete
from thoracle.evaluation.chat.metrics import AnsweredQuestion, patient_of
from thoracle.inference.llm.answer_journal import ask_all
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.llm.openai_client import OpenAIClient
from thoracle.models.chat.prompt import Message
from thoracle.types import ModelInput

#: HU, black to white; each slice is drawn in both, side by side.
WINDOWS: Final = {"lung": (-1350.0, 150.0), "mediastinum": (-160.0, 240.0)}
_SIDE: Final = 384  # pixels of a slice in one window
_NAMED: Final = 5  # of the questions without an answer
SYSTEM: Final = (
    "You answer questions about a chest CT for research. Answer from the pictures where there are any; where there are none, give the"
    " likeliest answer. Say no more than is asked for."
)
_FORM: Final = {
    "short_answer": "Answer in a word or a few, for example Yes, No, Left, Both, Neither, 12 mm.",
    "multiple_choice": "Answer with the letter of the right one in brackets, then its words.",
    "long_answer": "Answer in whole sentences that name what is present and what is not.",
    "report_generation": "Write the report alone.",
}


@dataclass(frozen=True, kw_only=True)
class Slices:
    """Say which axial slices an assistant is shown of a scan: at even steps, from the head to the feet, each in both windows.

    Attributes:
        count: how many.
    """

    count: int = 12

    def planes(self, depth: int) -> list[int]:
        """List which planes of a model's input they are, of so many from the feet to the head."""
        return [int((step + 0.5) * depth / self.count) for step in reversed(range(self.count))]

    def draw(self, volume: ModelInput, preprocess: Preprocessing) -> tuple[bytes, ...]:
        """Draw them as PNG, the patient's left on the right."""
        view_ZXY = view_as(volume, preprocess.axes, ZXY)
        _, x, y = (1.0, 1.0, 1.0) if preprocess.spacing is None else reorder(preprocess.spacing, preprocess.axes, ZXY)
        pictures = []
        for plane in self.planes(len(view_ZXY)):
            hu = to_hounsfield(fit_slice(view_ZXY[plane].T, (y, x), side=_SIDE), preprocess)
            pictures.append(png(np.concatenate([grey_levels(hu, window) for window in WINDOWS.values()], axis=1)))
        return tuple(pictures)

    def describe(self, preprocess: Preprocessing) -> dict[str, Any]:
        """Describe what is shown, for results."""
        depth, _, _ = reorder(preprocess.size, preprocess.axes, ZXY)
        planes = self.planes(depth)
        spacing = None if preprocess.spacing is None else reorder(preprocess.spacing, preprocess.axes, ZXY)[0]
        return {
            "axial planes, from head to feet": planes,
            "of planes, from feet to head": depth,
            "mm between planes": spacing,
            "windows, HU": {name: list(window) for name, window in WINDOWS.items()},
            "pixels of a picture": [_SIDE * len(WINDOWS), _SIDE],
        }


def ask_assistant(
    client: OpenAIClient,
    cohort: Cohort,
    conversations: Sequence[QuestionSet],
    *,
    slices: Slices,
    blind: bool,
    sampling: SamplingOptions,
    journal: Path | None = None,
    progress: Callable[..., Iterator[tuple[str, Any]]] = lambda answers, total: answers,  # takes them by name
) -> list[AnsweredQuestion]:
    """Ask the last question of each conversation, after the reference answers to the questions before it.

    An answer that holds no words or ends at its limit counts as none: nothing that is right.

    Args:
        client: of the server.
        cohort: holds the scans that the conversations are about.
        conversations: what is asked.
        slices: which are shown.
        blind: show none.
        sampling: how answers are generated.
        journal: file that gets each answer as it comes, and from which a run that was stopped goes on.
        progress: passes the answers on as they come, given as `total` how many there will be.

    Raises:
        EndpointFailed: the server is gone, or refused questions; what it answered is in the journal.
        CacheDamaged: a cached volume that is not what was written.
    """
    entries = {entry.volume: entry for entry in cohort.entries}

    @lru_cache(maxsize=8)  # a few questions are under way at once, about two scans at most
    def pictures(name: str) -> tuple[bytes, ...]:
        return slices.draw(read_volume(cohort.folder / entries[name].cache), cohort.preprocess)

    def ask(conversation: QuestionSet) -> str:
        shown = () if blind else tuple(picture for name in conversation.images for picture in pictures(name))
        try:
            return "".join(client.generate_whole(_messages(conversation, shown, slices), sampling=sampling)).strip()
        except AnswerIncomplete:
            return ""

    def key(conversation: QuestionSet) -> str:
        sources = [entries[name].cache_sha256 for name in conversation.images]
        shown = None if blind or not sources else slices.describe(cohort.preprocess)
        parts = [SYSTEM, _FORM, client.url, client.model, sources, shown, asdict(conversation), asdict(sampling)]
        return sha256(json.dumps(parts).encode()).hexdigest()

    keys = [key(conversation) for conversation in conversations]
    questions = dict(zip(keys, conversations, strict=True))
    arriving = ask_all(ask, questions, journal=journal, check=client.check, close=client.close)
    answers = dict(progress(arriving, total=len(questions)))
    failures = {key: answer for key, answer in answers.items() if isinstance(answer, AnswerFailed)}
    if failures:
        named = ", ".join(questions[key].id for key in list(failures)[:_NAMED])
        first = next(iter(failures.values()))
        detail = f"gave no answer to {len(failures):,} of {len(questions):,} questions ({named}; the first: it {first.detail})"
        raise AnswerFailed(detail, hint="The same command asks these again; what it answered is kept.", source=client.url)
    return [
        AnsweredQuestion(patient=patient_of(conversation, entries), pair=conversation.pairs[-1], answer=answers[key])
        for key, conversation in zip(keys, conversations, strict=True)
    ]


def _messages(conversation: QuestionSet, pictures: tuple[bytes, ...], slices: Slices) -> list[Message]:
    """Turns of the conversation; the pictures stand in the first, with words on what they are."""
    messages = [Message(role="system", content=SYSTEM)]
    for number, pair in enumerate(conversation.pairs):
        about = _caption(len(conversation.images), slices) if pictures and not number else ""
        content = "\n".join(filter(None, [about, pair.question, _FORM[pair.task]]))
        messages.append(Message(role="user", content=content, pictures=() if number else pictures))
        if number < len(conversation.pairs) - 1:
            messages.append(Message(role="assistant", content=pair.answer))
    return messages


def _caption(scans: int, slices: Slices) -> str:
    what = "one chest CT" if scans == 1 else f"{scans} chest CTs of one patient, {slices.count} of each, in the order of time"
    windows = " and ".join(f"a {name} window on the {side}" for name, side in zip(WINDOWS, ("left", "right"), strict=True))
    return f"The pictures are axial slices of {what}, from the head to the feet, with {windows}; the patient's left is on the right."

"""Ask a chat model a cohort's held-out questions, with the scans or without them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from torch import Tensor

from thoracle.cohort.manifest import Cohort
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.cohort.vqa.vqa_file import QuestionSet
from thoracle.evaluation.chat.metrics import AnsweredQuestion
from thoracle.inference.chat.conversation import Conversation as Dialog
from thoracle.inference.chat.conversation import Turn
from thoracle.inference.chat.scan_tokens import scan_tokens
from thoracle.inference.chat.session import Chat
from thoracle.inference.labeler.rules import RuleLabeller
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.prepare import PreparedVolume
from thoracle.types import FloatArray


def draw_questions(conversations: Sequence[QuestionSet], *, limit: int, reports: int) -> tuple[QuestionSet, ...]:
    """Take the first `limit` questions and the first `reports` requests for a report, sorted by scan.

    A scan's questions follow each other, so that its tokens are computed once.
    """
    report_requests = [conversation for conversation in conversations if conversation.pairs[-1].topic == "report"][:reports]
    questions = [conversation for conversation in conversations if conversation.pairs[-1].topic != "report"][:limit]
    return tuple(sorted([*questions, *report_requests], key=lambda conversation: conversation.images))


def answer_questions(
    chat: Chat, cohort: Cohort, conversations: Sequence[QuestionSet], *, sampling: SamplingOptions, blind: bool
) -> Iterator[AnsweredQuestion]:
    """Answer the last question of each conversation, after the reference answers to the questions before it.

    Args:
        chat: the model.
        cohort: holds the scans that the conversations are about.
        conversations: as `draw_questions` gives them.
        sampling: how answers are generated.
        blind: answer without the scans.

    Raises:
        CacheDamaged: a cached volume that is not what was written.
    """
    entries = {entry.volume: entry for entry in cohort.entries}

    @lru_cache(maxsize=2)  # a conversation is about two scans at most
    def tokens(name: str) -> Tensor:
        volume = read_volume(cohort.folder / entries[name].cache)
        return scan_tokens(chat.encoder, PreparedVolume(array=volume, provenance=None, warnings=()))

    for conversation in conversations:
        scans = () if blind else tuple(map(tokens, conversation.images))
        earlier = [Turn(question=pair.question, task=pair.task, answer=pair.answer) for pair in conversation.pairs[:-1]]  # type: ignore[arg-type]
        last = conversation.pairs[-1]
        messages = Dialog(scans=scans, turns=earlier).messages(last.question, last.task)  # type: ignore[arg-type]
        answer = "".join(chat.generate(messages, scans, sampling=sampling)).strip()
        yield AnsweredQuestion(patient=entries[conversation.images[0]].patient, pair=last, answer=answer)


def label_texts(texts: Sequence[str]) -> FloatArray:
    """Label texts by the rules of `thoracle label`; a text that they cannot read states nothing.

    Returns:
        (N, K) of 0 and 1.
    """
    return np.array([[float(value or 0) for value in labels.values] for labels in RuleLabeller().label(texts)])

"""Ask a chat model a cohort's held-out questions, with the scans or without them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from torch import Tensor

from thoracle.cohort.manifest import Cohort
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.cohort.vqa.vqa_file import QuestionSet
from thoracle.errors import AnswerIncomplete, InputError
from thoracle.evaluation.chat.metrics import AnsweredQuestion, patient_of
from thoracle.files.append_log import append_lines, recover_lines
from thoracle.inference.chat.conversation import Conversation as Dialog
from thoracle.inference.chat.conversation import Turn
from thoracle.inference.chat.scan_tokens import scan_tokens
from thoracle.inference.chat.session import Chat
from thoracle.inference.labeler.rules import RuleLabeller
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.prepare import PreparedVolume
from thoracle.models.chat.prompt import Message
from thoracle.types import FloatArray
from thoracle.version import __version__


def draw_questions(
    conversations: Sequence[QuestionSet], *, limit: int, reports: int, topics: Collection[str] = ()
) -> tuple[QuestionSet, ...]:
    """Take the first `limit` questions and the first `reports` requests for a report, sorted by scan.

    A scan's questions follow each other, so that its tokens are computed once.

    Args:
        conversations: whose last questions are asked.
        limit, reports: at most so many.
        topics: of the questions; all by default.

    Raises:
        InputError: nothing asks for any of the topics.
    """
    drawn: dict[bool, list[QuestionSet]] = {False: [], True: []}
    for conversation in conversations:
        topic = conversation.pairs[-1].topic
        kind = drawn[topic == "report"]
        is_asked = topic == "report" or not topics or topic in topics
        if is_asked and len(kind) < (reports if kind is drawn[True] else limit):
            kind.append(conversation)
        if len(drawn[False]) >= limit and len(drawn[True]) >= reports:
            break
    if topics and not drawn[False]:
        raise InputError(f"no question asks for {' or '.join(topics)}", hint="Give topics of the question file.")
    return tuple(sorted([*drawn[False], *drawn[True]], key=lambda conversation: conversation.images))


def answer_questions(
    chat: Chat,
    cohort: Cohort,
    conversations: Sequence[QuestionSet],
    *,
    sampling: SamplingOptions,
    blind: bool,
    model: str = "",
    journal: Path | None = None,
) -> Iterator[AnsweredQuestion]:
    """Answer the last question of each conversation, after the reference answers to the questions before it.

    An answer that ends at its limit of tokens counts as far as it goes.

    Args:
        chat: the model.
        cohort: holds the scans that the conversations are about.
        conversations: as `draw_questions` gives them.
        sampling: how answers are generated.
        blind: answer without the scans.
        model: `chat_fingerprint` of the model; answers of another one in the journal are not gone by.
        journal: file that gets each answer as it comes, and from which a run that was stopped goes on.

    Raises:
        InputError: the cohort was prepared by another recipe than the encoder's.
        CacheDamaged: a cached volume that is not what was written.
    """
    if cohort.preprocess != chat.encoder.preprocess:
        hint = "Prepare the cohort with `thoracle prepare --preprocess ENCODER`."
        raise InputError("was prepared by another recipe than that of the chat model's encoder", hint=hint, source=cohort.folder)
    entries = {entry.volume: entry for entry in cohort.entries}

    @lru_cache(maxsize=2)  # a conversation is about two scans at most
    def tokens(name: str) -> Tensor:
        volume = read_volume(cohort.folder / entries[name].cache)
        return scan_tokens(chat.encoder, PreparedVolume(array=volume, provenance=None, warnings=()))

    cached = {} if journal is None else {line["key"]: line["answer"] for line in map(json.loads, recover_lines(journal))}
    answers: dict[tuple[Message, ...], str] = {}  # without a scan, the same words get the same answer
    for conversation in conversations:
        sources = [entries[name].cache_sha256 for name in conversation.images]
        unseen = blind and bool(sources)  # a question about no scan is answered once
        key = sha256(json.dumps([model, unseen, sources, asdict(conversation), asdict(sampling)]).encode()).hexdigest()
        last = conversation.pairs[-1]
        if key not in cached:
            scans = () if blind else tuple(map(tokens, conversation.images))
            earlier = [Turn(question=pair.question, task=pair.task, answer=pair.answer) for pair in conversation.pairs[:-1]]  # type: ignore[arg-type]
            messages = Dialog(scans=scans, turns=earlier).messages(last.question, last.task)  # type: ignore[arg-type]
            words = tuple(messages)
            if scans or words not in answers:
                answers[words] = _whole(chat.generate(messages, scans, sampling=sampling)).strip()
            cached[key] = answers[words]
            if journal is not None:
                append_lines(journal, [json.dumps({"key": key, "answer": cached[key]})], private=True)
        yield AnsweredQuestion(patient=patient_of(conversation, entries), pair=last, answer=cached[key])


def chat_fingerprint(folder: Path) -> str:
    """Hash all files of a chat folder, which name its encoder and its language model by their hashes."""
    digests = [sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()]
    return sha256("".join([__version__, *digests]).encode()).hexdigest()


def _whole(pieces: Iterator[str]) -> str:
    """Join an answer's pieces, up to its limit."""
    text = ""
    with suppress(AnswerIncomplete):
        for piece in pieces:
            text += piece
    return text


def label_texts(texts: Sequence[str]) -> FloatArray:
    """Label texts by the rules of `thoracle label`; a text that they cannot read states nothing.

    Returns:
        (N, K) of 0 and 1.
    """
    return np.array([[float(value or 0) for value in labels.values] for labels in RuleLabeller().label(texts)])

"""Answer questions about an open scan, in pieces."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from torch import Tensor

from thoracle.errors import InputError
from thoracle.inference.chat.cited_answer import cited_text
from thoracle.inference.chat.conversation import Conversation, Turn
from thoracle.inference.chat.grounded import build_messages, collect_evidence
from thoracle.inference.chat.scan_tokens import tokens_of
from thoracle.inference.chat.session import Chat
from thoracle.inference.findings import Findings
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.llm.generator import TextGenerator
from thoracle.models.chat.prompt import AnswerType
from thoracle.search.engine import Hit
from thoracle.search.similar_cases import to_case
from thoracle.serving.jobs.worker import JobContext
from thoracle.serving.work.detection import Detector
from thoracle.serving.work.results import AnswerGiven, SourceCited

#: Conversations whose tokens of the scan are at hand.
_REMEMBERED = 4
#: Of every answer.
SAMPLING = SamplingOptions(max_tokens=256)


#: Finds cases like an open scan, by its folder.
FindSimilar = Callable[[str], Sequence[Hit]]


class Respondent:
    """Answer by a chat model that sees the scan, or by any language model from findings.

    Args:
        detector: its findings are what grounded answers rest on.
        chat: None where a language model's server answers alone.
        generate: that language model, or the chat model's own.
        find_similar: cases like the scan; none where there is no index.
    """

    def __init__(self, detector: Detector, *, chat: Chat | None, generate: TextGenerator, find_similar: FindSimilar | None) -> None:
        self._detector, self._chat, self._generate, self._find_similar = detector, chat, generate, find_similar
        self._tokens = lru_cache(_REMEMBERED)(self._encode)

    def answer(
        self, context: JobContext, *, scan: str, question: str, task: AnswerType, grounded: bool, turns: Sequence[Mapping[str, Any]]
    ) -> AnswerGiven:
        """Answer a question, and emit the answer in pieces: {"text": …}.

        Args:
            context: of the job.
            scan: its folder.
            question: the next one.
            task: the kind of answer.
            grounded: rest on findings and cite them, without seeing the scan.
            turns: question, answer in the model's own words and task of the conversation so far.

        Raises:
            InputError: an empty question, or a conversation that is too long.
            EndpointFailed: the language model's server failed.
        """
        if not question.strip():
            raise InputError("the question is empty", hint="Ask something.")
        conversation = Conversation(turns=[Turn(**turn) for turn in turns])
        if not grounded and self._chat is not None:
            context.report("reading the scan")
            conversation.scans = (self._tokens(scan),)
            context.report("answering")
            shown = _emit(context, self._chat.answer(conversation, question, task=task, sampling=SAMPLING))
            return AnswerGiven(shown=shown, words=conversation.turns[-1].answer, sources=[])
        context.report("reading findings")
        findings, hits = self._detector.findings(scan), self._similar(scan)  # the index may have changed
        evidence = collect_evidence(findings, [to_case(hit) for hit in hits])
        while hits and self._chat is not None and not self._chat.fits(build_messages(question, evidence), max_tokens=SAMPLING.max_tokens):
            hits = hits[:-1]  # the least alike goes first
            evidence = collect_evidence(findings, [to_case(hit) for hit in hits])
        context.report("answering")
        cited: dict[str, str] = {}

        def cited_pieces() -> Iterator[str]:
            nonlocal cited
            cited = yield from cited_text(
                self._generate, question, evidence=evidence, conversation=conversation, task=task, sampling=SAMPLING
            )

        shown = _emit(context, cited_pieces())
        sources = [_source(id, text, findings, hits) for id, text in cited.items()]
        return AnswerGiven(shown=shown, words=conversation.turns[-1].answer, sources=sources)

    def _encode(self, scan: str) -> Tensor:
        """Encode a scan as the chat model reads it; the user's cache, which outlives the server, gets nothing of it."""
        assert self._chat is not None, "it answers"
        encoder = self._chat.encoder
        return tokens_of(encoder).compress(encoder.encode_tokens(self._detector.prepared(scan, encoder)))

    def _similar(self, scan: str) -> Sequence[Hit]:
        return () if self._find_similar is None else self._find_similar(scan)


def _emit(context: JobContext, pieces: Iterator[str]) -> str:
    """Hand on pieces as they come, and return all of them; their generator is closed where the job is not wanted any more."""
    shown = ""
    try:
        for piece in pieces:
            context.check()
            shown += piece
            context.emit({"text": piece})
    finally:
        if isinstance(pieces, Generator):
            pieces.close()
    return shown


def _source(id: str, text: str, findings: Findings, hits: Sequence[Hit]) -> SourceCited:
    """Tell from an id such as F1 or C2 what it stands for; of a case the words name nobody."""
    position = int(id[1:]) - 1
    if id.startswith("F"):
        return SourceCited(
            id=id, kind="finding", text=text, finding=findings.abnormalities[position], number=None, volume="", source_sha256=""
        )
    hit = hits[position]
    words = f"a similar case, similarity {hit.score:.3f}"
    digest = hit.record.source_sha256
    return SourceCited(id=id, kind="case", text=words, finding=None, number=hit.number, volume=hit.record.volume, source_sha256=digest)

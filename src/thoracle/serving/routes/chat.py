"""Answer questions about an open scan, as they come."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from thoracle.client.forms.scans import ChatRequest, ChatTurn, Citation
from thoracle.client.forms.service import AnswerKind
from thoracle.errors import CapabilityMissing
from thoracle.serving.jobs.job import Job
from thoracle.serving.routes.paths import ROUTER, ScanId, Served, file_answer
from thoracle.serving.scan_store import OpenScan
from thoracle.serving.server import Server
from thoracle.serving.work.results import MODELS, AnswerGiven

router = APIRouter(**ROUTER, tags=["chat"])
EVENTS = "text/event-stream"


@router.post("/chat", response_class=StreamingResponse, responses=file_answer(EVENTS, "Events text, citation, stage, done and error."))
async def chat(request: ChatRequest, server: Served) -> StreamingResponse:
    """Ask a question about an open scan; the answer comes in pieces. Who stops reading stops it; a whole answer joins the conversation.

    Events: `stage` {stage, place, job}, `text` {delta}, `citation` {id, kind, text, finding, hit}, `done` {answer, job},
    `error` {kind, message, detail, hint}.
    """
    opened, facts = server.store.ready_scan(request.scan), server.loaded()
    if facts.chat is None:
        raise CapabilityMissing("no chat model is served", hint=facts.chat_hint)
    if request.grounded and facts.chat.grounded == "never":
        raise CapabilityMissing("the chat model reads too few words for answers with sources", hint="Ask without them, or serve --llm-url.")
    question, task, grounded = request.question, request.task, request.grounded or facts.chat.grounded == "always"
    turns = [
        {"question": turn.question, "task": turn.task, "answer": words}
        for turn, words in zip(opened.conversation, opened.words, strict=True)
        if turn.grounded == grounded
    ]

    joined: list[ChatTurn] = []

    def keep(job: Job) -> None:
        if job.result is not None:
            joined.append(_join(server, opened, job.result, question=question, task=task, grounded=grounded))

    arguments = {"scan": str(opened.volume_folder), "question": question, "task": task, "grounded": grounded, "turns": turns}
    job = server.board.submit("chat", lane=MODELS, scan=opened.id, arguments=arguments, conclude=keep)
    return StreamingResponse(_stream(server, job, joined), media_type=EVENTS)


@router.delete("/scans/{scan}/conversation", status_code=204)
async def clear_conversation(scan: ScanId, server: Served) -> None:
    """Forget the conversation about a scan."""
    opened = server.store.scan(scan)
    opened.conversation.clear()
    opened.words.clear()


def event(name: str, values: Mapping[str, Any]) -> str:
    """Format one server-sent event."""
    return f"event: {name}\ndata: {json.dumps(values)}\n\n"


async def _stream(server: Server, job: Job, joined: Sequence[ChatTurn]) -> AsyncIterator[str]:
    """Yield the events of an answer; `joined` has its turn once the job is done, whatever has become of the conversation since."""
    try:
        async for piece in job.follow():
            if piece is not None:
                yield event("text", {"delta": piece["text"]})
            elif not job.has_ended:
                status = server.board.status(job)
                yield event("stage", {"stage": status.stage, "place": status.place, "job": job.id})
        if job.error is not None:
            yield event("error", asdict(job.error))
        else:
            for turn in joined:
                for citation in turn.citations:
                    yield event("citation", asdict(citation))
                yield event("done", {"answer": turn.answer, "job": job.id})
    finally:
        if not job.has_ended:
            server.board.cancel(job)


def _join(server: Server, scan: OpenScan, answer: AnswerGiven, *, question: str, task: AnswerKind, grounded: bool) -> ChatTurn:
    """Add a whole answer to the conversation, with ids in place of records' names, and return it."""
    citations = [
        Citation(
            id=source.id,
            kind=source.kind,
            text=source.text,
            finding=source.finding,
            hit=None if source.number is None else server.cases.id_of(source.number, source.volume, source.source_sha256),
        )
        for source in answer.sources
    ]
    turn = ChatTurn(question=question, answer=answer.shown, task=task, grounded=grounded, citations=citations)
    scan.conversation.append(turn)
    scan.words.append(answer.words)
    return turn

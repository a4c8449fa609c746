"""Follow and cancel jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from thoracle.client.forms.service import JobStatus
from thoracle.serving.jobs.job import Job
from thoracle.serving.routes.chat import EVENTS, event
from thoracle.serving.routes.paths import ROUTER, JobId, Served, file_answer
from thoracle.serving.server import Server

router = APIRouter(**ROUTER, tags=["jobs"])


@router.get("/jobs/{job}")
async def job_status(job: JobId, server: Served) -> JobStatus:
    """Say where a job stands. One that a server before did not finish has failed with JobLost."""
    return server.board.status(server.board.job(job))


@router.get("/jobs/{job}/events", response_class=StreamingResponse, responses=file_answer(EVENTS, "Events `job`, as the job's status."))
async def job_events(job: JobId, server: Served) -> StreamingResponse:
    """Follow a job: its status whenever it changes, and every few seconds, until it has ended."""
    return StreamingResponse(_stream(server, server.board.job(job)), media_type=EVENTS)


@router.delete("/jobs/{job}")
async def cancel_job(job: JobId, server: Served) -> JobStatus:
    """Cancel a job; one that has ended stays as it is."""
    target = server.board.job(job)
    server.board.cancel(target)
    return server.board.status(target)


async def _stream(server: Server, job: Job) -> AsyncIterator[str]:
    async for piece in job.follow():
        if piece is None:
            yield event("job", asdict(server.board.status(job)))

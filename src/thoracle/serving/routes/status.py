"""Say what is served."""

from __future__ import annotations

from fastapi import APIRouter

from thoracle.client.forms.service import Limits, ServerStatus
from thoracle.serving.routes.paths import ROUTER, Served
from thoracle.types import RESEARCH_USE
from thoracle.version import __version__

router = APIRouter(**ROUTER, tags=["server"])


@router.get("/status")
async def status(server: Served) -> ServerStatus:
    """Describe the server: its model, index and chat model, and its limits."""
    facts, settings = server.facts, server.settings
    limits = Limits(
        upload_bytes=settings.upload_bytes, scans=settings.open_scans, seconds=settings.job_seconds, expires_after=settings.expires_after
    )
    return ServerStatus(
        version=__version__,
        research_use=RESEARCH_USE,
        ready=server.board.is_ready,
        problem=server.board.problem,
        model=None if facts is None else facts.model,
        regions=facts is not None and facts.regions,
        index=None if facts is None else facts.index,
        chat=None if facts is None else facts.chat,
        chat_hint="" if facts is None else facts.chat_hint,
        limits=limits,
    )

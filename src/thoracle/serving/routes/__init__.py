"""Answer requests: one module a subject."""

from __future__ import annotations

from typing import Final

from thoracle.serving.routes import chat, findings, health, jobs, maps, scans, search, status
from thoracle.serving.routes.paths import API

ROUTERS: Final = (
    status.router,
    scans.router,
    findings.router,
    maps.router,
    search.router,
    chat.router,
    jobs.router,
    health.router,
)
__all__ = ["API", "ROUTERS"]

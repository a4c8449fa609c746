"""Say whether the server lives and is ready, count what it does, and give its page."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from thoracle.client.forms.service import Readiness
from thoracle.serving.observation import gauge
from thoracle.serving.routes.paths import Served

router = APIRouter(tags=["server"])
_PAGE: Final = Path(__file__).parents[1] / "static" / "index.html"
_METRICS: Final = "text/plain; version=0.0.4"


@router.get("/healthz")
async def health() -> dict[str, bool]:
    """Say that the server answers; needs no token."""
    return {"alive": True}


@router.get("/readyz", responses={503: {"model": Readiness, "description": "Models are being loaded, or could not be."}})
async def readiness(server: Served) -> Response:
    """Say whether models are loaded; needs no token."""
    ready, problem = server.board.is_ready, server.board.problem
    body = {"ready": ready, "problem": None if problem is None else {"kind": problem.kind}}
    return JSONResponse(body, status_code=200 if ready else 503)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(server: Served) -> PlainTextResponse:
    """Count requests, jobs, scans, bytes and restarts in Prometheus's text format."""
    board, under_way = server.board, server.board.under_way()
    lines = [*server.counts.lines(), "# TYPE thoracle_jobs_total counter"]
    lines += [f'thoracle_jobs_total{{kind="{kind}",state="{state}"}} {count}' for (kind, state), count in board.counts.items()]
    lines += gauge("thoracle_jobs_waiting", {lane: waiting for lane, (waiting, _) in under_way.items()}, "lane")
    lines += gauge("thoracle_jobs_running", {lane: running for lane, (_, running) in under_way.items()}, "lane")
    lines += gauge("thoracle_scans_open", {"": len(server.store.scans())})
    lines += gauge("thoracle_disk_bytes", {"": sum(scan.size for scan in server.store.scans())})
    lines += gauge("thoracle_worker_memory_bytes", {"": board.memory()})
    lines += ["# TYPE thoracle_worker_restarts_total counter", f"thoracle_worker_restarts_total {board.restarts}"]
    return PlainTextResponse("\n".join(lines) + "\n", media_type=_METRICS)


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """Give the page."""
    if not _PAGE.is_file():
        return PlainTextResponse("The page is not built here (`make viewer`); the API is at /api/v1, see docs/api.md.\n")
    return FileResponse(_PAGE, media_type="text/html")

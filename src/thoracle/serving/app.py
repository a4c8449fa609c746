"""Make the application of a server: its routes, its errors, its page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from thoracle.client.forms.service import ErrorAnswer
from thoracle.errors import BudgetExceeded, InputError, ServerFull, ServingError, ThoracleError, UnknownId
from thoracle.serving.access import Gate
from thoracle.serving.observation import Observer
from thoracle.serving.refusals import error_body, http_status
from thoracle.serving.routes import API, ROUTERS
from thoracle.serving.server import Server
from thoracle.types import RESEARCH_USE
from thoracle.version import __version__

STATIC: Final = Path(__file__).parent / "static"
_RETRY_SECONDS: Final = "2"


def create_app(server: Server) -> ASGIApp:
    """Make the application; the server's workers start with its lifespan, and end with it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        server.start()
        yield
        await server.close()

    app = api(lifespan=lifespan)
    app.state.server = server
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return Observer(Gate(app, settings=server.settings), counts=server.counts, audit=server.audit)


def api(**options: Any) -> FastAPI:
    """Make the application without a server behind it, for its OpenAPI description."""
    app = FastAPI(
        title="Thoracle",
        version=__version__,
        description=f"Read, search and ask about chest CT. {RESEARCH_USE}",
        openapi_url=None,  # it is served behind the token
        docs_url=None,
        redoc_url=None,
        responses={"default": {"model": ErrorAnswer, "description": "Refused: why, and how to mend it."}},
        **options,
    )
    for router in ROUTERS:
        app.include_router(router)
    app.add_api_route("/openapi.json", lambda: JSONResponse(app.openapi()), include_in_schema=False)
    app.add_exception_handler(ThoracleError, _answer(lambda error: error))
    app.add_exception_handler(RequestValidationError, _answer(_to_input_error))
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unforeseen)
    return app


def _answer(convert: Callable[[Any], Exception]) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def handler(_: Request, error: Exception) -> JSONResponse:
        body = error_body(convert(error))
        headers = {"Retry-After": _RETRY_SECONDS} if body.kind == ServerFull.__name__ else None
        return JSONResponse(asdict(ErrorAnswer(error=body)), status_code=http_status(body.kind), headers=headers)

    return handler


def _to_input_error(error: RequestValidationError) -> InputError:
    """Name the field and what was expected; the value that came may be a name."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return InputError(f"{field}: {first['msg']}", hint=f"See {API}: /openapi.json and docs/api.md describe each request.")


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    """Answer what no route takes in the form of all errors."""
    assert isinstance(error, HTTPException), "it is registered for these"
    cls = {404: UnknownId, 413: BudgetExceeded}.get(error.status_code, ServingError)
    detail = "there is no such address" if error.status_code == 404 else error.detail
    body = error_body(cls(detail, hint="docs/api.md lists all requests."))
    return JSONResponse(asdict(ErrorAnswer(error=body)), status_code=error.status_code, headers=error.headers)


async def _unforeseen(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse(asdict(ErrorAnswer(error=error_body(error))), status_code=500)

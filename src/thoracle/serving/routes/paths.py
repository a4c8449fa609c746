"""Name what routes have in common: where they are, who asks, and the ids in their paths."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends, Path
from fastapi.security import HTTPBearer

from thoracle.client.forms.service import ErrorAnswer
from thoracle.serving.server import Server, server_of

API: Final = "/api/v1"
#: Describes the token in OpenAPI; `Gate` has judged it before a route is reached.
BEARER: Final = HTTPBearer(auto_error=False, description="The token that `thoracle serve` printed.")
#: What every route is made with: its prefix, its token, and the form of its errors, which replaces FastAPI's own.
ROUTER: Final[dict[str, Any]] = {
    "prefix": API,
    "dependencies": [Depends(BEARER)],
    "responses": {422: {"model": ErrorAnswer, "description": "Refused: what was sent makes no sense."}},
}

Served = Annotated[Server, Depends(server_of)]
ScanId = Annotated[str, Path(description="Of an open scan.")]
JobId = Annotated[str, Path(description="Of a job.")]
HitId = Annotated[str, Path(description="Of a case that was found.")]
FindingName = Annotated[str, Path(description="One of the model's findings.", max_length=200)]


def file_answer(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    """Describe an answer that is a file."""
    parsed = ("application/json", "text/event-stream")  # by who checks an answer against its form: a file's JSON, each event
    schema = {"type": "object"} if media_type in parsed else {"type": "string", "format": "binary"}
    return {200: {"content": {media_type: {"schema": schema}}, "description": description}}

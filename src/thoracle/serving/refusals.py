"""Turn errors into the body and the status of an answer, without paths."""

from __future__ import annotations

import re
from typing import Final

from thoracle.client.error_answers import error_class
from thoracle.client.forms.service import ErrorBody
from thoracle.errors import (
    AccessDenied,
    BudgetExceeded,
    CapabilityMissing,
    EndpointFailed,
    ExtraMissing,
    IndexBusy,
    IndexMissing,
    JobCancelled,
    JobLimitExceeded,
    JobLost,
    NotReady,
    ServerFull,
    ThoracleError,
    UnknownId,
    WorkerKilled,
)

#: HTTP's status of an error; of others 422: what was sent makes no sense.
_STATUS: Final[dict[type[ThoracleError], int]] = {
    UnknownId: 404,
    NotReady: 409,
    CapabilityMissing: 409,
    IndexMissing: 409,
    IndexBusy: 409,
    ExtraMissing: 409,
    EndpointFailed: 409,
    JobCancelled: 409,
    JobLimitExceeded: 409,
    JobLost: 409,
    WorkerKilled: 409,
    AccessDenied: 403,
    BudgetExceeded: 413,
    ServerFull: 429,
}
_UNFORESEEN: Final = "Thoracle did not foresee this"


def error_body(error: Exception) -> ErrorBody:
    """Describe an error for a person who has no access to the server's files.

    The text of an error that is none of ours may hold a path or a name, so its class alone is named.
    """
    if not isinstance(error, ThoracleError):
        detail, hint = f"{_UNFORESEEN} ({type(error).__name__})", "Try another scan, and tell us of it."
        return ErrorBody(kind=type(error).__name__, message=f"{detail}. {hint}", detail=detail, hint=hint)
    message, detail = _one_line(error.redacted()), _one_line(error.detail.split("\n", maxsplit=1)[0])
    hint = _one_line(error.hint.split("\n", maxsplit=1)[0])
    return ErrorBody(kind=type(error).__name__, message=message, detail=detail, hint=hint)


def http_status(kind: str) -> int:
    """Return HTTP's status of an error's class; of one that is not ours 409, since the request itself was sound."""
    cls = error_class(kind)
    if cls is None:
        return 409
    return next((_STATUS[parent] for parent in cls.__mro__ if parent in _STATUS), 422)


def _one_line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip()

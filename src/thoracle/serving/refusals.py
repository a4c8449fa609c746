"""Turn errors into the body and the status of an answer, without paths."""

from __future__ import annotations

import re
from typing import Final

from thoracle import errors
from thoracle.client.error_answers import error_class
from thoracle.client.forms import ErrorBody
from thoracle.errors import ThoracleError

#: HTTP's status of an error; of others 422: what was sent makes no sense.
_STATUS: Final[dict[type[ThoracleError], int]] = {
    errors.UnknownId: 404,
    errors.NotReady: 409,
    errors.CapabilityMissing: 409,
    errors.IndexMissing: 409,
    errors.IndexBusy: 409,
    errors.ExtraMissing: 409,
    errors.EndpointFailed: 409,
    errors.JobCancelled: 409,
    errors.JobLimitExceeded: 409,
    errors.JobLost: 409,
    errors.WorkerKilled: 409,
    errors.AccessDenied: 403,
    errors.BudgetExceeded: 413,
    errors.ServerFull: 429,
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

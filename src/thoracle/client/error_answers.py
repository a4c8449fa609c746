"""Turn what a server says of an error into the error."""

from __future__ import annotations

from importlib import import_module

from thoracle.client.forms.service import ErrorBody
from thoracle.errors import ServingError, ThoracleError


def error_class(kind: str) -> type[ThoracleError] | None:
    """Return the class of `thoracle.errors` of that name; None where there is none."""
    cls = getattr(import_module("thoracle.errors"), kind, None)
    return cls if isinstance(cls, type) and issubclass(cls, ThoracleError) else None


def to_error(body: ErrorBody) -> ThoracleError:
    """Make the error that a body describes; `ServingError` where its class is none of ours."""
    return (error_class(body.kind) or ServingError)(body.detail, hint=body.hint)

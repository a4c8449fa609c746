"""Errors become bodies without paths, statuses that fit, and errors again on the other side."""

from __future__ import annotations

import inspect

import pytest

from thoracle import errors
from thoracle.client.error_answers import to_error
from thoracle.errors import ServingError, ThoracleError, TruncatedFile
from thoracle.serving.refusals import error_body, http_status

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, ThoracleError)]


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_crosses_without_its_path_and_is_no_fault_of_the_server(cls: type[ThoracleError]) -> None:
    body = error_body(cls("two things came:\nDoe^Jane", hint="Give one.\nDoe^Jane", source="/data/Doe^Jane.dcm"))
    assert (body.kind, body.detail, body.hint) == (cls.__name__, "two things came:", "Give one.")
    assert "Doe" not in str(body)
    assert type(to_error(body)) is cls
    assert 400 <= http_status(body.kind) < 500


def test_an_error_of_others_is_named_by_its_class_alone() -> None:
    body = error_body(ValueError("Doe^Jane"))
    assert body.kind == "ValueError"
    assert "Doe" not in str(body)
    assert type(to_error(body)) is ServingError
    assert http_status(body.kind) == 409


def test_statuses_say_what_a_program_can_do() -> None:
    wanted = {"UnknownId": 404, "NotReady": 409, "BudgetExceeded": 413, "ServerFull": 429, "InputError": 422, "TruncatedFile": 422}
    assert {kind: http_status(kind) for kind in wanted} == wanted


def test_control_characters_do_not_pass() -> None:
    assert error_body(TruncatedFile("a\x1b[31mb", hint="c\u2028d")).message == "a [31mb. c d"

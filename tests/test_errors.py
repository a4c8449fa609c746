"""The tree that the docstring draws is the tree there is, and a message says file, detail and hint."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from thoracle import errors
from thoracle.errors import ThoracleError, TruncatedFile

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, ThoracleError)]


def test_docstring_draws_every_class_under_its_parent() -> None:
    stack: list[str] = []
    drawn: dict[str, str | None] = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^\s*?((?:│   |    |├── |└── )*)([A-Z]\w+)(?:  |$)", line)
        if match:
            depth = len(match[1]) // 4
            stack[depth:] = [match[2]]
            drawn[match[2]] = stack[depth - 1] if depth else None
    assert drawn == {c.__name__: (c.__bases__[0].__name__ if c is not ThoracleError else None) for c in CLASSES}


@pytest.mark.parametrize("kind", CLASSES)
def test_message_names_file_fact_and_cure_and_survives_a_process_border(kind: type[ThoracleError]) -> None:
    error = kind("expected 3 axes, got 5", hint="Give one volume.", source="patient.nii")
    assert str(error) == "patient.nii: expected 3 axes, got 5. Give one volume."
    assert "patient" not in error.redacted()
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(again) is kind
    assert str(again) == str(error)


def test_a_full_stop_is_not_doubled() -> None:
    assert str(TruncatedFile("cut.", hint="Copy it again.")) == "cut. Copy it again."


def test_what_is_written_out_holds_neither_path_nor_series_uid() -> None:
    error = ThoracleError("2 series could be meant", hint="Choose one by its UID:\n  1.2.840.1  chest\n  1.2.840.2", source="Jane Doe.zip")
    assert error.redacted() == "2 series could be meant. Choose one by its UID:"

from __future__ import annotations

import pytest

from thoracle.client.error_answers import error_class, to_error
from thoracle.client.forms.service import ErrorBody
from thoracle.errors import ServingError, TruncatedFile


@pytest.mark.parametrize(
    ("kind", "cls"), [("TruncatedFile", TruncatedFile), ("ValueError", ServingError), ("Path", ServingError), ("", ServingError)]
)
def test_an_error_is_of_its_class_where_that_is_ours(kind: str, cls: type[Exception]) -> None:
    error = to_error(ErrorBody(kind=kind, message="cut. Copy it.", detail="cut", hint="Copy it."))
    assert type(error) is cls
    assert str(error) == "cut. Copy it."
    assert (error_class(kind) is None) == (kind != "TruncatedFile")

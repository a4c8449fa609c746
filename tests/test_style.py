"""Words that a reader of this field need not learn: variables are nouns, docstrings open with a verb."""

from __future__ import annotations

from typing import Final

from tests import style

#: Fractions of bindings.
VAGUE_BINDINGS: Final = 0.005
DULL_BINDINGS: Final = 0.0079


def test_variables_are_nouns() -> None:
    names = style.bindings()
    vague = {name: names[name] for name in style.VAGUE if names[name]}
    assert sum(vague.values()) <= VAGUE_BINDINGS * names.total(), vague


def test_variables_name_something() -> None:
    names = style.bindings()
    dull = {name: names[name] for name in style.DULL if names[name]}
    assert sum(dull.values()) <= DULL_BINDINGS * names.total(), dull


def test_docstrings_open_with_a_verb() -> None:
    poor, _ = style.fragments()
    assert not poor, "\n".join(poor)

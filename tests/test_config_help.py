"""What a configuration says of its keys, in rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest

from thoracle.config_help import describe_file, describe_settings, meanings
from thoracle.config_reader import Range, config_from_mapping


@dataclass(frozen=True, kw_only=True)
class Inner:
    """An inner one.

    Attributes:
        size: of something.
        kind: of
            it.
    """

    size: Annotated[int, Range(min=1, unit="mm")] = 3
    kind: str = "round"


@dataclass(frozen=True, kw_only=True)
class Outer:
    """An outer one.

    Attributes:
        steps: how many.
        inner: what is inside.
        other: what may be inside.
    """

    steps: int = 5
    inner: Inner = field(default_factory=lambda: Inner(size=4))
    other: Inner | None = None


def test_a_key_has_range_default_unit_meaning_and_section() -> None:
    size, kind = describe_settings(Inner)
    assert (size.name, size.default, size.unit, size.meaning, size.section) == ("size", 3, "mm", "of something.", None)
    assert size.takes == "a whole number at least 1"
    assert kind.meaning == "of it."
    steps, inner, other = describe_settings(Outer)
    assert (steps.unit, inner.section, other.section) == ("steps", Inner, Inner)
    assert (inner.default, other.default) == (Inner(size=4), None)


def test_meanings_are_inherited() -> None:
    class Child(Inner):
        """A child."""

    assert meanings(Child) == {"size": "of something.", "kind": "of it."}


def test_a_key_without_a_meaning_is_a_fault_of_the_class() -> None:
    @dataclass
    class Silent:
        """Says nothing."""

        size: int = 0

    with pytest.raises(ValueError, match=r"Silent\.size has no meaning"):
        describe_settings(Silent)


def test_values_stand_beside_the_defaults_of_where_they_are() -> None:
    written = {"inner": {"kind": "flat"}}
    rows = describe_file(config_from_mapping(Outer, written), written)
    assert [(row.key, row.value, row.setting.default, row.stated) for row in rows] == [
        ("steps", 5, 5, False),
        ("inner.size", 3, 4, False),  # a section that is stated begins as its class's
        ("inner.kind", "flat", "round", True),
        ("other", None, None, False),
    ]

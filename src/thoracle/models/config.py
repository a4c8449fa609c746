"""Read configurations from mappings: unknown keys and wrong types are refused, sizes must be positive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from thoracle.errors import InputError

_Config = TypeVar("_Config")


def build(kind: type[_Config], values: Mapping[str, Any], source: str) -> _Config:
    """A config of `kind` from a mapping; an unknown key is an error that names the known ones."""
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(
            f"unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}", cure="Remove or correct them.", source=source
        )
    for f in fields(kind):  # type: ignore[arg-type]
        _typed(f.name, values.get(f.name, f.default), f.default, source)
    return kind(**values)


def _typed(name: str, value: object, default: object, source: str) -> None:
    """A value from JSON is of its default's type; 1 for 1.0 is fine, true for 1 and "1" are not."""
    allowed = (int, float) if isinstance(default, float) else type(default)
    if isinstance(default, (int, float, str)) and (not isinstance(value, allowed) or isinstance(value, bool) != isinstance(default, bool)):
        raise InputError(f"{name} must be of type {type(default).__name__}, is {value!r}"[:200], cure="Correct it.", source=source)


def check_positive(config: object, *, allow_zero: tuple[str, ...] = ()) -> None:
    """Raise InputError for a number that is negative, or zero where zero is not allowed."""
    for f in fields(config):  # type: ignore[arg-type]
        value = getattr(config, f.name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and (value < 0 or (value == 0 and f.name not in allow_zero)):
            raise InputError(f"{f.name} must be positive, is {value}", cure="Correct the configuration.", source="config")

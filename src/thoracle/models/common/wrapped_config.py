"""Read configurations that hold that of another kind, their encoder's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from thoracle.config_reader import config_from_mapping
from thoracle.errors import InputError

_Config = TypeVar("_Config", bound=Any)


def wrapped_config(cls: type[_Config], readers: Mapping[str, Callable[[Mapping[str, Any]], Any]], values: Mapping[str, Any]) -> _Config:
    """Read a configuration whose `encoder` is read as its `encoder_kind` says.

    Args:
        cls: with both fields.
        readers: of the encoders' configurations, by kind.
        values: as `config.json` has them.

    Raises:
        InputError: a kind that is none of these, or as `config_from_mapping`.
    """
    kind = str(values.get("encoder_kind"))
    if kind not in readers:
        raise InputError(f"encoder_kind is {kind!r}, which is none of {', '.join(readers)}", hint="Correct it.", source="config")
    plain = {name: value for name, value in values.items() if name != "encoder"}
    return replace(config_from_mapping(cls, plain), encoder=readers[kind](values["encoder"]))

"""Describe the settings of a configuration, for the pages of docs/reference and for the terminal."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import Any, Final, get_args

from thoracle.config_reader import Range, describe_type, field_types

#: Units of keys whose types state none.
_UNITS: Final = {
    "steps": "steps",
    "warmup_steps": "steps",
    "save_every": "steps",
    "eval_every": "steps",
    "max_text_tokens": "tokens",
    "sequence_length": "tokens",
    "crop_words": "words",
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Describe one key of a configuration.

    Attributes:
        name: of the key.
        takes: what it accepts, in words.
        default: of the class; `MISSING` where it has none.
        unit: "" where there is none.
        meaning: as the docstring has it.
        section: the configuration that it holds; None for a plain value.
    """

    name: str
    takes: str
    default: Any
    unit: str
    meaning: str
    section: type[Any] | None


@dataclass(frozen=True, kw_only=True)
class SettingInUse:
    """Hold a key's dotted name, its description, its value, and whether the configuration stated it."""

    key: str
    setting: Setting
    value: Any
    stated: bool


def describe_settings(cls: type[Any]) -> tuple[Setting, ...]:
    """Describe the keys of a configuration, those that it inherits first.

    Raises:
        ValueError: a key has no meaning in a docstring.
    """
    hints, texts = field_types(cls), meanings(cls)
    missing = [field.name for field in fields(cls) if field.name not in texts]
    if missing:
        raise ValueError(f"{cls.__name__}.{missing[0]} has no meaning in its docstring")
    return tuple(
        Setting(
            name=field.name,
            takes=describe_type(hints[field.name]),
            default=field.default if field.default_factory is MISSING else field.default_factory(),
            unit=_unit(hints[field.name]) or _UNITS.get(field.name, ""),
            meaning=texts[field.name],
            section=_section(hints[field.name]),
        )
        for field in fields(cls)
    )


def meanings(cls: type[Any]) -> dict[str, str]:
    """Read the Attributes section of a dataclass's docstring, and of those it inherits from."""
    inherited = [base for base in reversed(cls.__mro__[1:]) if is_dataclass(base)]
    known = {name: text for base in inherited for name, text in meanings(base).items()}
    _, _, section = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")
    for entry in re.split(r"\n(?= {4}\w)", section.rstrip()):
        name, _, text = entry.strip().partition(": ")
        known |= {name: " ".join(text.split())} if name else {}
    return known


def describe_file(config: Any, written: Mapping[str, Any], *, defaults: Any = None, prefix: str = "") -> list[SettingInUse]:
    """List each key of a configuration by its dotted name; a section that is absent has one row.

    Args:
        config: as it was read.
        written: the settings that were stated, as plain types.
        defaults: what it is without them; by default that of its class.
        prefix: of names.
    """
    rows: list[SettingInUse] = []
    for setting in describe_settings(type(config)):
        name, value, stated = setting.name, getattr(config, setting.name), setting.name in written
        default = getattr(defaults, name) if isinstance(defaults, type(config)) else setting.default
        if setting.section is not None and value is not None:
            inside = written[name] if stated and isinstance(written[name], Mapping) else {}
            rows += describe_file(value, inside, defaults=default, prefix=f"{prefix}{name}.")
        else:
            rows.append(SettingInUse(key=f"{prefix}{name}", setting=replace(setting, default=default), value=value, stated=stated))
    return rows


def _section(hint: Any) -> type[Any] | None:
    return next((part for part in (hint, *get_args(hint)) if isinstance(part, type) and is_dataclass(part)), None)


def _unit(hint: Any) -> str:
    if isinstance(hint, Range):
        return hint.unit
    return next(filter(None, map(_unit, (*get_args(hint), *getattr(hint, "__metadata__", ())))), "")

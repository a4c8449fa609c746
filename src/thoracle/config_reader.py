"""Read frozen dataclasses from plain mappings and write them back; every error names the dotted key."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml  # type: ignore[import-untyped]

from thoracle.errors import InputError

OVERRIDE: Final = "--set"
_HINT: Final = "Correct the configuration."
_LONGEST: Final = 120  # characters of a value or key in an error
_NAMES: Final = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_Config = TypeVar("_Config")


@dataclass(frozen=True, kw_only=True)
class Range:
    """Bound a number in a configuration; stated as `Annotated[int, Range(min=1)]`.

    Attributes:
        min: smallest value that is accepted.
        max: largest value that is accepted.
        above: bound that the value must exceed.
        below: bound that the value must stay under.
        unit: of the value, for the reference of settings.
    """

    min: float | None = None
    max: float | None = None
    above: float | None = None
    below: float | None = None
    unit: str = ""

    def __contains__(self, number: float) -> bool:
        return (
            (self.min is None or number >= self.min)
            and (self.max is None or number <= self.max)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        bounds = (("at least", self.min), ("above", self.above), ("at most", self.max), ("below", self.below))
        return " and ".join(f"{words} {bound:,g}" for words, bound in bounds if bound is not None)


PositiveInt = Annotated[int, Range(min=1)]
NonNegativeInt = Annotated[int, Range(min=0)]
PositiveFloat = Annotated[float, Range(above=0)]
NonNegativeFloat = Annotated[float, Range(min=0)]
Fraction = Annotated[float, Range(min=0, max=1)]


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Read 1e-4 as a number, as YAML 1.2 does: YAML 1.1 asks for a point and a sign. Refuse a key that stands twice, as it does too."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node, keys = super().compose_mapping_node(anchor), set[str]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.value in keys or keys.add(key.value)):  # type: ignore[func-returns-value]
                raise yaml.composer.ComposerError(None, None, f"{key.value!r} stands twice", key.start_mark)
        return node


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))


def parse_yaml(text: str) -> Any:
    """Parse YAML, of which JSON is a part, into plain types; raises yaml.YAMLError or RecursionError."""
    return yaml.load(text, _Loader)


def config_from_mapping(
    cls: type[_Config], mapping: Mapping[str, Any], *, source: str | Path = "config", overridden: Collection[str] = ()
) -> _Config:
    """Read a frozen dataclass, and those nested in it, from plain types.

    Args:
        cls: the dataclass. Its fields are of int, float, bool, str, `Literal`, tuples, dataclasses, one of several dataclasses (settings
            are read as the one that has most of their names), or one of these or None.
        mapping: settings by name; those that are absent keep their defaults. Lists become tuples, and 1 is fine for 1.0.
        source: file or section that errors name.
        overridden: dotted keys that come from the command line: errors in them name `--set`.

    Raises:
        InputError: an unknown key, a value of the wrong type, out of its range or none of its choices, or settings that contradict
            each other.
    """
    return _Reader(str(source), frozenset(overridden)).config(cls, mapping, "")


def config_to_mapping(config: Any) -> dict[str, Any]:
    """Write a configuration as plain JSON types; `config_from_mapping` reads them back."""
    return {field.name: _plain(getattr(config, field.name)) for field in fields(config)}


def check_fields(config: Any) -> None:
    """Check types, ranges and choices of a configuration's fields: the first line of its `__post_init__`.

    Raises:
        InputError: as `config_from_mapping`.
    """
    reader = _Reader("config", frozenset())
    for name, hint in field_types(type(config)).items():
        value = getattr(config, name)
        if reader.value(hint, value, name) != value:
            raise InputError(f"{name} must be a tuple, is {_shown(value)}", hint=_HINT, source="config")


def apply_overrides(cls: type[Any], mapping: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Replace settings by those of `key.sub=value` texts, whose values are YAML.

    Args:
        cls: dataclass that the settings are of: a section that `mapping` lacks begins as its default.
        mapping: plain types, which are not changed.
        overrides: texts such as "optimizer.lr=1e-4"; later ones win.

    Raises:
        InputError: a text without "=" or without a value, a value that is no YAML, or a key below one that holds no settings.
    """
    settings = dict(mapping)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"{_shown(text)} is no setting", hint="Write KEY=VALUE, such as optimizer.lr=1e-4.", source=OVERRIDE)
        try:
            parsed = parse_yaml(value)
        except (yaml.YAMLError, RecursionError) as error:
            raise InputError(f"{key} is no YAML: {_shown(value)}", hint="Quote it.", source=OVERRIDE) from error
        if parsed is None and value.strip().lower() not in ("null", "~"):
            hint = f"Write '{key}=\"\"', quotes included, for empty text, and {key}=null for nothing."
            raise InputError(f"{key} has no value", hint=hint, source=OVERRIDE)
        _put(cls, settings, key, parsed)
    return settings


def overridden_keys(overrides: Iterable[str]) -> list[str]:
    """Return the dotted keys of `key.sub=value` texts."""
    return [text.partition("=")[0] for text in overrides]


def field_types(cls: type[Any]) -> Mapping[str, Any]:
    """Resolve the types of a dataclass's fields, ranges included."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def closest_type(choices: Sequence[Any], value: object) -> Any:
    """Choose the dataclass that a value is, or that has most of the names of a mapping; the first of equals, and of types that are none."""
    if isinstance(value, Mapping):
        return max(choices, key=lambda choice: len(value.keys() & _names_of(choice)))
    return next((choice for choice in choices if isinstance(choice, type) and isinstance(value, choice)), choices[0])


def _names_of(hint: Any) -> frozenset[str]:
    return frozenset(field_types(hint)) if isinstance(hint, type) and is_dataclass(hint) else frozenset()


def required_fields(cls: type[Any]) -> list[str]:
    """List the fields of a dataclass that have no default."""
    return [field.name for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING]


def describe_type(hint: Any) -> str:
    """Say in words what a field accepts: "a whole number at least 1"."""
    if get_origin(hint) is Annotated:
        plain, *marks = get_args(hint)
        return " ".join([describe_type(plain), *filter(None, map(str, marks))])
    if get_origin(hint) is Literal:
        return " or ".join(get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join("null" if part is type(None) else describe_type(part) for part in get_args(hint))
    if get_origin(hint) is tuple:
        return _describe_tuple(get_args(hint))
    return _NAMES.get(hint, "settings")


@dataclass(frozen=True)
class _Reader:
    source: str
    overridden: frozenset[str]

    def config(self, cls: type[_Config], mapping: object, key: str) -> _Config:
        if not isinstance(mapping, Mapping):
            raise self._wrong(key, f"must hold settings, is {_shown(mapping)}")
        hints = field_types(cls)
        for name in mapping:
            if name not in hints:
                self._refuse_unknown(_join(key, name), names=hints)
        values = {name: self.value(hints[name], value, _join(key, name)) for name, value in mapping.items()}
        for name in required_fields(cls):
            if name not in values:
                raise self._wrong(_join(key, name), "is missing")
        try:
            return cls(**values)
        except InputError as error:
            source = f"{self.source} with {OVERRIDE}" if self._is_overridden(key) else self.source
            raise InputError(f"{key}: {error.detail}" if key else error.detail, hint=error.hint, source=source) from error

    def value(self, hint: Any, value: Any, key: str, *, stated: Any = None) -> Any:
        """Convert a value to a field's type, or raise an error that names its key and, if given, the `stated` type."""
        origin = get_origin(hint)
        if origin is Annotated:
            return self._number(hint, value, key)
        if origin in (Union, types.UnionType):
            if value is None and type(None) in get_args(hint):
                return None
            return self.value(closest_type([part for part in get_args(hint) if part is not type(None)], value), value, key)
        if origin is tuple:
            return self._tuple(hint, value, key)
        if is_dataclass(hint):
            return value if isinstance(value, hint) else self.config(hint, value, key)  # type: ignore[arg-type, unused-ignore]
        if origin is Literal:
            accepted = isinstance(value, str) and value in get_args(hint)
        elif hint is float:
            accepted = type(value) in (int, float) and abs(value) <= sys.float_info.max  # neither infinite nor NaN
        else:
            accepted = type(value) is hint
        if not accepted:
            raise self._wrong(key, f"must be {describe_type(stated or hint)}, is {_shown(value)}")
        return float(value) if hint is float else value

    def _number(self, hint: Any, value: Any, key: str) -> Any:
        plain, *marks = get_args(hint)
        number = self.value(plain, value, key, stated=hint)
        if any(isinstance(mark, Range) and number not in mark for mark in marks):
            raise self._wrong(key, f"must be {describe_type(hint)}, is {_shown(value)}")
        return number

    def _tuple(self, hint: Any, value: Any, key: str) -> tuple[Any, ...]:
        parts = get_args(hint)
        if not isinstance(value, list | tuple) or (parts[-1] is not ... and len(value) != len(parts)):
            raise self._wrong(key, f"must be {describe_type(hint)}, is {_shown(value)}")
        inner = [parts[0]] * len(value) if parts[-1] is ... else parts
        return tuple(self.value(part, element, f"{key}[{k}]") for k, (part, element) in enumerate(zip(inner, value, strict=True)))

    def _refuse_unknown(self, key: str, *, names: Iterable[str]) -> None:
        close = get_close_matches(key.rpartition(".")[2], names, n=1)
        hint = f"Did you mean {close[0]}?" if close else "Remove or correct it."
        raise self._wrong("", f"unknown {key[:_LONGEST]}; known are {', '.join(sorted(names))}", hint=hint, key=key)

    def _wrong(self, name: str, detail: str, *, hint: str = _HINT, key: str = "") -> InputError:
        source = OVERRIDE if self._is_overridden(key or name) else self.source
        return InputError(f"{name} {detail}".strip(), hint=hint, source=source)

    def _is_overridden(self, key: str) -> bool:
        """Whether the command line gave this key, what holds it, or a part of it."""
        key = key.partition("[")[0]
        return any(not key or (key + ".").startswith(prefix + ".") or prefix.startswith(key + ".") for prefix in self.overridden)


def _put(cls: Any, settings: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, last = dotted.split(".")
    for depth, name in enumerate(sections):
        default = _default_section(cls, name)
        section = settings.get(name, {} if default is None else config_to_mapping(default))
        if section is not None and not isinstance(section, Mapping):
            path = ".".join(sections[: depth + 1])
            raise InputError(f"{path} holds no settings, is {_shown(section)}", hint=_HINT, source=OVERRIDE)
        settings[name] = dict(section or {})
        cls, settings = type(default), settings[name]
    settings[last] = value


def _default_section(cls: Any, name: str) -> Any:
    """Make the default of a field that holds settings; None if there is no such field, or its default is not a dataclass."""
    field = next((field for field in fields(cls) if field.name == name), None) if is_dataclass(cls) else None
    if field is None:
        return None
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return default if is_dataclass(default) else None


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return config_to_mapping(value)
    return [_plain(element) for element in value] if isinstance(value, tuple) else value


def _shown(value: object) -> str:
    return repr(value)[:_LONGEST]


def _join(section: str, name: object) -> str:
    return f"{section}.{name}" if section else str(name)


def _describe_tuple(parts: tuple[Any, ...]) -> str:
    if parts[-1] is ...:
        return f"a list, of which each is {describe_type(parts[0])}"
    return f"a list of {len(parts)}, of which each is {describe_type(parts[0])}"

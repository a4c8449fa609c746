"""Read what abnormalities are called in reports: rules in `phrases/`, one file an abnormality, or in a file of one's own.

A rule finds words (`find`), may need others beside them (`require`) and is void beside yet others (`exclude`), unless words that outweigh
those (`anchor`) stand nearer. Beside means in the same clause, or the same phrase between commas or sentence (`window`), not more than
`split` words away, and not beyond another mention of the same rule.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, get_args

import yaml  # type: ignore[import-untyped]

from thoracle.errors import InputError
from thoracle.inference.labeler.negation_scope import Assertion
from thoracle.inference.labeler.sentences import any_blanks
from thoracle.types import ABNORMALITIES

Near = Literal["phrase", "clause", "sentence"]

_KEYS: Final = ("id", "find", "require", "exclude", "anchor", "window", "split", "positive", "topic")
_COUNTED: Final = ("affirmed", "uncertain")
_HINT: Final = "Correct the file; docs/label.md shows its form."
#: A file of rules is no larger.
_LARGEST: Final = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Rule:
    """Hold one way to mention an abnormality.

    Attributes:
        name: unique among the rules of all abnormalities.
        abnormality: its place in the vocabulary.
        find: expression on folded text that finds mentions.
        require: expression that must match beside a mention; None for rules without.
        exclude: expression that voids a mention beside it; None for rules without.
        anchor: expression that outweighs `exclude` where it is nearer to the mention; None for rules without.
        window: how far `require` and `exclude` look.
        split: most words between a mention and what it requires; None for any number.
        positive: assertions that make the label 1.
        topic: whether a mention that is the name of a template's field is a topic, and states nothing.
    """

    name: str
    abnormality: int
    find: re.Pattern[str]
    require: re.Pattern[str] | None
    exclude: re.Pattern[str] | None
    anchor: re.Pattern[str] | None
    window: Near
    split: int | None
    positive: frozenset[str]
    topic: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Vocabulary:
    """Hold the rules of some abnormalities, and a hash of all that decides them beside the code."""

    abnormalities: tuple[str, ...]
    rules: tuple[Rule, ...]
    fingerprint: str


@cache
def builtin_vocabulary() -> Vocabulary:
    """Return the rules of the 18 abnormalities of CT-RATE."""
    here = files(__package__)
    names = ("cues.yaml", "fields.yaml", "headings.yaml", *(f"phrases/{_file_name(name)}" for name in ABNORMALITIES))
    contents = [here.joinpath(*name.split("/")).read_bytes() for name in names]
    entries = [yaml.load(content, Loader=yaml.CSafeLoader) for content in contents[-len(ABNORMALITIES) :]]
    vocabulary = _vocabulary(entries, Path("phrases"))
    assert vocabulary.abnormalities == ABNORMALITIES
    return Vocabulary(abnormalities=ABNORMALITIES, rules=vocabulary.rules, fingerprint=hashlib.sha256(b"".join(contents)).hexdigest())


def fingerprint() -> str:
    """Hash all rules and cues: what labels by the built-in rules depend on beside the code."""
    return builtin_vocabulary().fingerprint


def read_vocabulary(path: Path) -> Vocabulary:
    """Read abnormalities of one's own from YAML: `abnormalities`, a list of entries as the files of `phrases/` hold them.

    Raises:
        InputError: no such file, no such form, or an expression that is none; the error names the field.
    """
    try:
        content = path.read_bytes() if path.stat().st_size <= _LARGEST else b""
        entries = yaml.load(content, Loader=yaml.CSafeLoader)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", hint="Check the path.", source=path) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"is not YAML: {' '.join(str(error).split()):.200}", hint=_HINT, source=path) from error
    if not isinstance(entries, Mapping) or set(entries) != {"abnormalities"}:
        raise InputError("expected one key, abnormalities, with a list", hint=_HINT, source=path)
    vocabulary = _vocabulary(_list(entries["abnormalities"], "abnormalities", path), path)
    hashed = json.dumps([builtin_vocabulary().fingerprint, entries["abnormalities"]], sort_keys=True, default=str)
    return Vocabulary(
        abnormalities=vocabulary.abnormalities, rules=vocabulary.rules, fingerprint=hashlib.sha256(hashed.encode()).hexdigest()
    )


def _vocabulary(entries: Sequence[Any], path: Path) -> Vocabulary:
    names: list[str] = []
    rules: list[Rule] = []
    for number, entry in enumerate(entries):
        field = f"abnormalities[{number}]"
        if not isinstance(entry, Mapping) or not set(entry) <= {"abnormality", "about", "rules"} or "abnormality" not in entry:
            raise InputError(f"{field}: expected the keys abnormality, about and rules", hint=_HINT, source=path)
        name = entry["abnormality"]
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or name in names:
            raise InputError(f"{field}.abnormality: expected a name that no other has, is {name!r:.60}", hint=_HINT, source=path)
        names.append(name)
        rules.extend(_rules(entry.get("rules"), number, _file_name(name).removesuffix(".yaml"), f"{field}.rules", path))
    return Vocabulary(abnormalities=tuple(names), rules=tuple(rules), fingerprint="")


def _rules(entries: Any, number: int, prefix: str, field: str, path: Path) -> Iterator[Rule]:
    seen: set[str] = set()
    for at, entry in enumerate(_list(entries, field, path)):
        here = f"{field}[{at}]"
        if not isinstance(entry, Mapping) or not set(entry) <= set(_KEYS) or not {"id", "find"} <= set(entry):
            unknown = ", ".join(map(repr, sorted(map(str, set(entry) - set(_KEYS))))) if isinstance(entry, Mapping) else ""
            detail = f"{here}: expected id, find and any of {', '.join(_KEYS[2:])}" + (f", not {unknown:.80}" if unknown else "")
            raise InputError(detail, hint=_HINT, source=path)
        name = str(entry["id"])
        if name in seen:
            raise InputError(f"{here}.id: {name!r:.60} is another rule's", hint=_HINT, source=path)
        seen.add(name)
        yield _rule(entry, number, f"{prefix}/{name}", here, path)


def _rule(entry: Mapping[str, Any], number: int, name: str, field: str, path: Path) -> Rule:
    window, split, topic = entry.get("window", "clause"), entry.get("split"), entry.get("topic", False)
    if window not in get_args(Near):
        raise InputError(f"{field}.window: expected {', '.join(get_args(Near))}, is {window!r:.60}", hint=_HINT, source=path)
    if split is not None and (not isinstance(split, int) or isinstance(split, bool) or split < 0):
        raise InputError(f"{field}.split: expected a whole number of words, is {split!r:.60}", hint=_HINT, source=path)
    if not isinstance(topic, bool):
        raise InputError(f"{field}.topic: expected true or false, is {topic!r:.60}", hint=_HINT, source=path)
    positive = _list(entry.get("positive", list(_COUNTED)), f"{field}.positive", path)
    if not set(positive) <= set(get_args(Assertion)):
        raise InputError(f"{field}.positive: expected some of {', '.join(get_args(Assertion))}", hint=_HINT, source=path)
    find, require, exclude, anchor = (
        _words(entry[key], f"{field}.{key}", path) if key in entry else None for key in ("find", "require", "exclude", "anchor")
    )
    assert find is not None
    return Rule(
        name=name,
        abnormality=number,
        find=find,
        require=require,
        exclude=exclude,
        anchor=anchor,
        window=window,
        split=split,
        positive=frozenset(positive),
        topic=topic,
    )


def _words(phrases: Any, field: str, path: Path) -> re.Pattern[str]:
    """Whole words; a blank stands for any white space."""
    for at, phrase in enumerate(_list(phrases, field, path)):
        if not isinstance(phrase, str) or not phrase:
            raise InputError(f"{field}[{at}]: expected an expression, is {phrase!r:.60}", hint=_HINT, source=path)
        try:
            empty = re.compile(any_blanks(phrase)).fullmatch("") is not None
        except re.error as error:
            raise InputError(f"{field}[{at}]: {phrase!r:.80} is no expression: {error}", hint=_HINT, source=path) from error
        if empty:
            raise InputError(f"{field}[{at}]: {phrase!r:.80} matches nothing at all", hint=_HINT, source=path)
    return re.compile(rf"(?<!\w)(?:{any_blanks('|'.join(phrases))})(?!\w)")


def _list(entries: Any, field: str, path: Path) -> list[Any]:
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{field}: expected a list, is {entries!r:.60}", hint=_HINT, source=path)
    return entries


def _file_name(abnormality: str) -> str:
    return abnormality.lower().replace(" ", "_") + ".yaml"

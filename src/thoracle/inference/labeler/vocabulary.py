"""Read what each abnormality is called in reports: rules in `phrases/`, one file an abnormality.

A rule finds words (`find`), may need others beside them (`require`) and is void beside yet others (`exclude`). Beside means in the same
clause, or the same phrase between commas or sentence (`window`), and not more than `split` words away.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

import yaml  # type: ignore[import-untyped]

from thoracle.types import ABNORMALITIES

Near = Literal["phrase", "clause", "sentence"]

_KEYS: Final = {"id", "find", "require", "exclude", "window", "split", "positive"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Rule:
    """Hold one way to mention an abnormality.

    Attributes:
        name: unique among the rules of all abnormalities.
        abnormality: its place in `ABNORMALITIES`.
        find: expression on lower-case text that finds mentions.
        require: expression that must match beside a mention; None for rules without.
        exclude: expression that voids a mention beside it; None for rules without.
        window: how far `require` and `exclude` look.
        split: most words between a mention and what it requires; None for any number.
        positive: assertions that make the label 1.
    """

    name: str
    abnormality: int
    find: re.Pattern[str]
    require: re.Pattern[str] | None
    exclude: re.Pattern[str] | None
    window: Near
    split: int | None
    positive: frozenset[str]


@cache
def rules() -> tuple[Rule, ...]:
    """Return all rules, in the order of the abnormalities."""
    return tuple(rule for number, name in enumerate(ABNORMALITIES) for rule in _read(number, name))


@cache
def fingerprint() -> str:
    """Hash all rules and cues: what labels by rules depend on beside the code."""
    here = files(__package__)
    names = ("cues.yaml", *(f"phrases/{_file_name(name)}" for name in ABNORMALITIES))
    return hashlib.sha256(b"".join(here.joinpath(*name.split("/")).read_bytes() for name in names)).hexdigest()


def _file_name(abnormality: str) -> str:
    return abnormality.lower().replace(" ", "_") + ".yaml"


def _read(number: int, abnormality: str) -> Iterator[Rule]:
    file = files(__package__).joinpath("phrases", _file_name(abnormality))
    content: Mapping[str, Any] = yaml.load(file.read_text("utf-8"), Loader=yaml.CSafeLoader)
    assert content["abnormality"] == abnormality, file
    for rule in content["rules"]:
        assert set(rule) <= _KEYS, (file, rule)
        yield Rule(
            name=f"{file.name.removesuffix('.yaml')}/{rule['id']}",
            abnormality=number,
            find=_words(rule["find"]),
            require=_words(rule["require"]) if "require" in rule else None,
            exclude=_words(rule["exclude"]) if "exclude" in rule else None,
            window=rule.get("window", "clause"),
            split=rule.get("split"),
            positive=frozenset(rule.get("positive", ("affirmed", "uncertain"))),
        )


def _words(phrases: list[str]) -> re.Pattern[str]:
    """Whole words; a blank stands for any white space."""
    anyone = "|".join(phrases).replace(" ?", r"\s?").replace(" ", r"\s+")
    return re.compile(rf"(?<!\w)(?:{anyone})(?!\w)")

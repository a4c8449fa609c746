"""What each abnormality is called in reports: rules read from `phrases/`, one file an abnormality; judges no sentence.

A rule finds words (`find`), may need others beside them (`needs`) and is void beside yet others (`unless`). Beside means in the same
clause, or the same phrase between commas or sentence (`near`), and not more than `apart` words away.
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

_KEYS: Final = {"id", "find", "needs", "unless", "near", "apart", "counts"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Rule:
    """One way to mention an abnormality.

    Attributes:
        name: unique among the rules of all abnormalities.
        abnormality: its place in `ABNORMALITIES`.
        find, needs, unless: expressions on lower-case text; None for those a rule does without.
        near: how far `needs` and `unless` look.
        apart: the most words between a mention and what it needs; None for any number.
        counts: the assertions that make the label 1.
    """

    name: str
    abnormality: int
    find: re.Pattern[str]
    needs: re.Pattern[str] | None
    unless: re.Pattern[str] | None
    near: Near
    apart: int | None
    counts: frozenset[str]


@cache
def rules() -> tuple[Rule, ...]:
    """All rules, in the order of the abnormalities."""
    return tuple(rule for number, name in enumerate(ABNORMALITIES) for rule in _read(number, name))


@cache
def fingerprint() -> str:
    """SHA-256 over all rules and cues: what labels by rules depend on beside the code."""
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
            needs=_words(rule["needs"]) if "needs" in rule else None,
            unless=_words(rule["unless"]) if "unless" in rule else None,
            near=rule.get("near", "clause"),
            apart=rule.get("apart"),
            counts=frozenset(rule.get("counts", ("affirmed", "uncertain"))),
        )


def _words(phrases: list[str]) -> re.Pattern[str]:
    """Whole words; a blank stands for any white space."""
    anyone = "|".join(phrases).replace(" ?", r"\s?").replace(" ", r"\s+")
    return re.compile(rf"(?<!\w)(?:{anyone})(?!\w)")

"""Tell English reports from those of other languages, by evidence for either: words of `languages.yaml`, endings, letters.

Reports are short and full of Latin: what is of several languages counts for none, and a text without evidence for another language is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

import yaml  # type: ignore[import-untyped]

_WORD: Final = re.compile(r"[^\W\d_]{2,}(?:['’-][^\W\d_]+)*")
_SHORTEST_ENDED: Final = 5
#: The last character of Latin-1 that is no letter; behind it come letters that English has not.
_LAST_SIGN: Final = "\u00bf"


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    english: frozenset[str]
    other: frozenset[str]
    endings: re.Pattern[str]


def has_words(report: str) -> bool:
    """Tell whether a text holds a word."""
    return _WORD.search(report) is not None


def is_english(report: str) -> bool:
    """Tell whether the words of a text speak for English, or for no other language."""
    weights = [_weight(word.lower().replace("’", "'")) for word in _WORD.findall(report)]
    english, other = weights.count(1), -sum(weight for weight in weights if weight < 0)
    return other <= english / 2


@lru_cache(maxsize=1 << 16)
def _weight(word: str) -> float:
    """1 for English, -1 for another language, -0.5 for an ending that English has not, 0 for neither."""
    evidence = _evidence()
    if word in evidence.english:
        return 1
    if word in evidence.other or any(letter > _LAST_SIGN for letter in word):
        return -1
    return -0.5 if len(word) >= _SHORTEST_ENDED and evidence.endings.search(word) else 0


@cache
def _evidence() -> _Evidence:
    words = yaml.load(files(__package__).joinpath("languages.yaml").read_text("utf-8"), Loader=yaml.CSafeLoader)
    english, other, shared = (frozenset(" ".join(words[kind]).split()) for kind in ("english", "other", "shared"))
    return _Evidence(english=english - shared, other=other - shared - english, endings=re.compile(f"(?:{'|'.join(words['endings'])})$"))

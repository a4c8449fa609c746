"""The sentences of a report, each with its place in the text as it came.

Reports arrive with findings and impression run together: quotes, bullets and missing blanks between sentences are the rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from thoracle.types import ABNORMALITIES

#: A quote or bullet parts items of an impression; so does a stop, a semicolon or a question mark before what can begin a sentence.
_PART: Final = re.compile(
    r"""[•·●▪\n\r"“”„«»]+          # bullets and quotes, however many
      | (?<=\s)[*➢→-]\s+(?=[A-Z])  # a dash as a bullet
      | (?<=\S)\.+(?=\s+[^\sa-z]|\s*$)
      | (?<=[a-z]{4})\.+(?=\s+[a-z])
      | (?<=[a-z)\]])\.+(?=[A-Z][a-z]) # a blank was lost
      | (?<=[a-z)])\?+(?=\s+[A-Z]|$)
      | ;(?=\s|$)
      | '{2,}
    """,
    re.VERBOSE,
)
_ABBREVIATION: Final = re.compile(r"(?:^|[\s(])(?:dr|mr|mrs|ms|vs|approx|ca|cf|fig|no|st|e\.g|i\.e|pt)$", re.IGNORECASE)
#: What CT-RATE's tables hold where a section is empty.
_NOT_GIVEN: Final = "Not given."
_STRIPPED: Final = " \t\r\n.,:;'`*-–—"
#: Bytes that were none of the encoding, as `errors="surrogateescape"` keeps them.
_BROKEN: Final = re.compile("[\udc80-\udcff]")
_WORD: Final = re.compile(r"[^\W\d_]{2,}")
#: Of which every English sentence holds some, and no other language many.
_ENGLISH: Final = frozenset(
    re.findall(r"\w+", "the of and is are was were not with to there on for from both right left lung lungs observed detected seen without")
)
#: What a summary without verbs is made of.
_TERMS: Final = frozenset(
    re.findall(
        r"\w+",
        " ".join(ABNORMALITIES).lower() + " no normal mild minimal heart chest findings nodules bilateral hilar mediastinal lymph nodes"
        " effusions changes lobe upper lower little small large fluid free increased enlarged stable unchanged"
        " thickened calcified mass lesion acute finding within limits thoracic examination evidence pathology"
        " abnormality significant",
    )
)
_FEWEST_ENGLISH: Final = 0.12
_FEWEST_TERMS: Final = 0.4


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """Hold a sentence whose `text` begins at `start` of the report."""

    text: str
    start: int


def sentences(report: str) -> Iterator[Sentence]:
    """Split a report into sentences in order, without bullets, quotes and final stops."""
    begin = 0
    for part in _PART.finditer(report):
        if part.group()[0] == "." and _ABBREVIATION.search(report, begin, part.start()):
            continue
        end = part.end() if part.group()[0] == "?" else part.start()
        yield from _one(report, begin, end)
        begin = part.end()
    yield from _one(report, begin, len(report))


def unreadable(report: str) -> str:
    """Say why a text cannot be labelled; "" where it can: it holds words, and enough of them are English."""
    words = [word.lower() for word in _WORD.findall(report)]
    if not words or report.strip() == _NOT_GIVEN:
        return "no text"
    if _BROKEN.search(report):
        return "not in the table's encoding"
    english, terms = (sum(word in vocabulary for word in words) / len(words) for vocabulary in (_ENGLISH, _ENGLISH | _TERMS))
    return "" if english >= _FEWEST_ENGLISH or terms >= _FEWEST_TERMS else "not English"


def _one(report: str, begin: int, end: int) -> Iterator[Sentence]:
    text = report[begin:end]
    left = len(text) - len(text.lstrip(_STRIPPED))
    stripped = text.strip(_STRIPPED)
    if stripped:
        yield Sentence(text=stripped, start=begin + left)

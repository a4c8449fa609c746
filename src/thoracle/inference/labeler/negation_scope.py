"""Classify mentions in a sentence: affirmed, negated, uncertain, historical, or another person's.

NegEx's idea (Chapman et al., J Biomed Inform 2001) with ConText's modifiers (Harkema et al., 2009), written for clauses instead of a
window of words: a cue reaches to the end of its clause, and a clause ends where the next predicate has its own subject.
The cues are in `cues.yaml`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, Literal

import yaml  # type: ignore[import-untyped]

Assertion = Literal["affirmed", "negated", "uncertain", "historical", "other person"]

#: The first that applies to a mention wins.
_ORDER: Final[tuple[Assertion, ...]] = ("other person", "negated", "historical", "uncertain")
#: Commas and conjunctions where a clause can end; a word is a clause of its own only beside another predicate.
_JOINT: Final = re.compile(r"\s*,\s*(?:and|or|with|while|whereas)?\b\s*|\s+and\s+|\s*\.\s+|\s+while\s+|\s+whereas\s+")
_BREAK: Final = re.compile(
    r"\b(?:but|however|although|though|nevertheless|yet|except(?:\s+for)?|apart\s+from|aside\s+from|other\s+than|otherwise"
    r"|besides|in\s+addition|additionally|on\s+the\s+other\s+hand|presents?\s+(?:with|for)|secondary\s+to|due\s+to|because\s+of|caused\s+by"
    r"|in\s+the\s+(?:patient|case)\s+(?:with|who))\b|[;:]|\s-\s(?=there\b)"
)
_PREDICATE: Final = re.compile(
    r"\b(?:is|are|was|were|has|have|had|shows?|showed|reveals?|revealed|demonstrate[sd]?|denie[sd]|denies|measures|measured\s+as"
    r"|contains?|continues?|persists?|appears?|remains?|did|does|do|ends|terminates|extends)\b"
)

_VERB_FIRST: Final = re.compile(rf"\s*(?:also\s+)?{_PREDICATE.pattern}")
_RELATIVE: Final = re.compile(r",\s+(?:which|that|who|whose|(?:\w+\s+){1,3}of\s+(?:which|whom))\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class AssertionJudgement:
    """Hold a mention's assertion and its cue; `cue` is "" and `start` -1 where nothing qualifies it."""

    assertion: Assertion
    cue: str = ""
    start: int = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cue:
    assertion: Assertion
    forward: bool
    near: bool
    start: int
    end: int


class AssertionScope:
    """Find the cues and clauses of one sentence once, for all its mentions.

    Args:
        sentence: one sentence, without its final stop.
    """

    def __init__(self, sentence: str) -> None:
        self.text = sentence.lower()
        self._cues = _find_cues(self.text)
        self._bounds = _clauses(self.text, [cue for cue in self._cues if not cue.forward])

    def clause(self, start: int) -> tuple[int, int]:
        """Return the bounds of the clause around a position."""
        index = bisect_right(self._bounds, start)
        return self._bounds[index - 1], self._bounds[index]

    def classify(self, start: int, end: int) -> AssertionJudgement:
        """Classify the assertion of the mention from `start` to `end`."""
        reached = [cue for cue in self._cues if self._reaches(cue, start, end)]
        for assertion in _ORDER:
            for cue in reached:
                if cue.assertion == assertion:
                    return AssertionJudgement(assertion=assertion, cue=self.text[cue.start : cue.end], start=cue.start)
        return AssertionJudgement(assertion="affirmed")

    def _reaches(self, cue: _Cue, start: int, end: int) -> bool:
        if cue.start < end and start < cue.end:  # "afebrile", "no longer": the cue is part of the mention
            return cue.start >= start and cue.forward and cue.start == start
        first, last = (cue.end, start) if cue.forward else (end, cue.start)
        if first > last:
            return False
        between = self.text[first:last]
        if cue.near and ("," in between or len(between.split()) > 5):
            return False
        return (
            self.clause(max(0, cue.end - 1)) == self.clause(start)
            if cue.forward
            else self.clause(cue.start) == self.clause(max(start, end - 1))
        )


@cache
def _patterns() -> tuple[re.Pattern[str], dict[str, tuple[Assertion, bool, bool] | None]]:
    """One expression for all cues, longest first, and what each of its groups means; None for what only looks like a cue."""
    groups = yaml.load(files(__package__).joinpath("cues.yaml").read_text("utf-8"), Loader=yaml.CSafeLoader)
    parts, meanings = [], {}
    for number, group in enumerate(groups):
        name = f"g{number}"
        phrases = "|".join(phrase.replace(" ?", r"\s?").replace(" ", r"\s+") for phrase in group["phrases"])
        parts.append(f"(?P<{name}>(?:{phrases}))")
        meaning = group["meaning"]
        meanings[name] = None if meaning == "none" else (meaning, group["reach"] != "before", group["reach"] == "near")
    return re.compile(rf"(?:(?<![\w-])(?=\w)|(?=[^\w\s]))(?:{'|'.join(parts)})(?!\w)"), meanings


def _find_cues(text: str) -> list[_Cue]:
    pattern, meanings = _patterns()
    cues = []
    for match in pattern.finditer(text):
        meaning = meanings[match.lastgroup or ""]
        if meaning is not None:
            cues.append(_Cue(assertion=meaning[0], forward=meaning[1], near=meaning[2], start=match.start(), end=match.end()))
    return cues


def _clauses(text: str, predicates: list[_Cue]) -> list[int]:
    """Where clauses begin, and at last the text's end: at every break, and at a joint that has a predicate on both its sides."""
    verbs = sorted({match.start() for match in _PREDICATE.finditer(text)} | {cue.start for cue in predicates})
    hard = {0, *(match.start() for match in _BREAK.finditer(text))}
    soft = [match.end() for match in _JOINT.finditer(text)]
    bounds = [0]
    for joint in sorted({*hard, *soft} - {0}):
        if joint in hard:
            bounds.append(joint)
            continue
        following = next((boundary for boundary in (*sorted(hard), len(text)) if boundary > joint), len(text))
        next_joint = min((boundary for boundary in soft if boundary > joint), default=len(text))
        if _VERB_FIRST.match(text, joint) and _RELATIVE.search(text, bounds[-1], joint):
            continue  # the main clause goes on: "a nodule, which was seen before, is not seen"
        before = any(bounds[-1] <= verb < joint for verb in verbs)
        after = any(joint <= verb < min(following, max(next_joint, joint)) for verb in verbs)
        if before and after:
            bounds.append(joint)
    return [*bounds, len(text) + 1]

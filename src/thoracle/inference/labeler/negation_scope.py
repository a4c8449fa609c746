"""Classify mentions in a sentence: affirmed, negated, uncertain, historical, hypothetical, or another person's.

NegEx's idea (Chapman et al., J Biomed Inform 2001) with ConText's modifiers (Harkema et al., 2009), written for clauses instead of a
window of words: a cue reaches to the end of its clause, and a clause ends where the next predicate has its own subject.
The cues are in `cues.yaml`.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, Literal

import yaml  # type: ignore[import-untyped]

from thoracle.inference.labeler.sentences import any_blanks, fold

Assertion = Literal["affirmed", "negated", "uncertain", "historical", "hypothetical", "other person"]
_Reach = Literal["after", "near", "before", "beside"]

#: The first that applies to a mention wins.
_ORDER: Final[tuple[Assertion, ...]] = ("other person", "hypothetical", "negated", "historical", "uncertain")
#: Most words between a mention and a cue of short reach.
_NEAR: Final = 6
_NOT: Final = re.compile(r"(?:there (?:is|are) )?(?:no|not|without|did not|does not)\b")
#: Commas and conjunctions where a clause can end; a word is a clause of its own only beside another predicate.
_JOINT: Final = re.compile(r"\s*,\s*(?:and|or|with|while|whereas)?\b\s*|\s+and\s+|\s*\.\s+|\s+while\s+|\s+whereas\s+")
_BREAK: Final = re.compile(
    r"\b(?:but|however|although|though|nevertheless|yet|except(?:\s+for)?|apart\s+from|aside\s+from|other\s+than|otherwise"
    r"|besides|in\s+addition|additionally|on\s+the\s+other\s+hand|presents?\s+(?:with|for)|secondary\s+to|due\s+to|because\s+of|caused\s+by"
    r"|in\s+the\s+(?:patient|case)\s+(?:with|who)|adjacent\s+to|next\s+to|(?:has|have|had)\s+been\s+replaced\s+by|replaced\s+by|instead)\b"
    r"|\band\s+(?=no\b)|[:|\t]|;(?!\s[a-z][a-z -]{2,24}(?:[;.]|$))|\s-\s(?=there\b)|\s-\s(?=(?:small|mild|a)\b)|=+"
)
#: What opens a phrase that states, behind a comma, "and" or "with": a negation before it does not reach it.
_STATING: Final = re.compile(
    r"(?:[,;/-]|\band|\bwith|,\s*and|,\s*with|\.{2,})\s+(?=(?:(?:there\s+(?:is|are)|(?:an?|one|two|three|the)\s+(?!result|few\s+or\b|size|diameter|long|short|thickness)|multiple|several|few"
    r"|(?:very\s+)?(?:small|tiny|mild|minimal|minor|slight|moderate|severe|trace|large|extensive|marked)(?!\s+or\b)|new|stable|unchanged|persistent|residual"
    r"|scattered|bilateral|bibasal|bibasilar|dependent|diffuse|patchy|subsegmental|linear|chronic|known|mildly|moderately|borderline|otherwise|overlying|adjacent|compressive|associated)\b"
    r"|\d+(?:[.,]\d+)?\s*(?:x\s*\d+\s*)?(?:mm|cm)\b))"
)
#: A clause of negation in a list that goes on: "no nodule, large mass or effusion".
_LIST: Final = re.compile(r"\b(?:or|nor)\b")
_PREDICATE: Final = re.compile(
    r"\b(?:is|are|was|were|has|have|had|shows?|showed|reveals?|revealed|demonstrate[sd]?|denie[sd]|denies|measures|measured\s+as"
    r"|contains?|continues?|persists?|appears?|remains?|did|does|do|ends|terminates|extends|in\s+situ|in\s+place)\b"
)

_VERB_FIRST: Final = re.compile(rf"\s*(?:also\s+)?{_PREDICATE.pattern}")
_PARTICIPLE: Final = re.compile(r"(?:\w{2,}ed|seen)\s+(?:in|as|by|on|to)\s(?!which\b)")
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
    reach: _Reach
    start: int
    end: int

    @property
    def forward(self) -> bool:
        """Tell whether it reaches what stands behind it."""
        return self.reach in ("after", "near")


class AssertionScope:
    """Find the cues and clauses of one sentence once, for all its mentions.

    Args:
        sentence: one sentence, without its final stop.
        breaks: places where a clause ends in any case, such as those of template fields.
    """

    def __init__(self, sentence: str, *, breaks: Sequence[int] = ()) -> None:
        self.text = fold(sentence)
        self._cues, self._denials = _find_cues(self.text)
        self._bounds = _clauses(self.text, self._cues, breaks)

    def clause(self, start: int) -> tuple[int, int]:
        """Return the bounds of the clause around a position."""
        index = bisect_right(self._bounds, start)
        return self._bounds[index - 1], self._bounds[index]

    def classify(self, start: int, end: int) -> AssertionJudgement:
        """Classify the assertion of the mention from `start` to `end`."""
        for denial_start, denial_end in self._denials:  # "not increased" looks like no cue; it is where the increase is the finding
            if denial_start < start < denial_end <= end:
                return AssertionJudgement(assertion="negated", cue=self.text[denial_start:start].strip(), start=denial_start)
        reached = [cue for cue in self._cues if self._reaches(cue, start, end)]
        for assertion in _ORDER:
            for cue in reached:
                if cue.assertion == assertion:
                    return AssertionJudgement(assertion=assertion, cue=self.text[cue.start : cue.end], start=cue.start)
        return AssertionJudgement(assertion="affirmed")

    def classify_field(self, start: int) -> AssertionJudgement:
        """Classify the assertion of what the words from `start` on are said of: the name of a template's field."""
        bounds = self.clause(start)
        cues = [cue for cue in self._cues if self.clause(cue.start) == bounds and (cue.start == start or not cue.forward)]
        first = min(cues, key=lambda cue: _ORDER.index(cue.assertion), default=None)
        if first is None:
            return AssertionJudgement(assertion="affirmed")
        return AssertionJudgement(assertion=first.assertion, cue=self.text[first.start : first.end], start=first.start)

    def _reaches(self, cue: _Cue, start: int, end: int) -> bool:
        if cue.start < end and start < cue.end:  # the cue is a part of the mention, "no longer", or ends in it, "not enlarged"
            return cue.start == start if cue.forward else cue.start < start and cue.end <= end
        first, last = (cue.end, start) if cue.forward else (end, cue.start)
        if first > last:
            return False
        between = self.text[first:last]
        if cue.reach in ("near", "beside") and ("," in between or len(between.split()) > _NEAR):
            return False
        return (
            self.clause(max(0, cue.end - 1)) == self.clause(start)
            if cue.forward
            else self.clause(cue.start) == self.clause(max(start, end - 1))
        )


@cache
def _patterns() -> tuple[re.Pattern[str], dict[str, tuple[Assertion, _Reach] | None]]:
    """One expression for all cues, longest first, and what each of its groups means; None for what only looks like a cue."""
    groups = yaml.load(files(__package__).joinpath("cues.yaml").read_text("utf-8"), Loader=yaml.CSafeLoader)
    parts, meanings = [], {}
    for number, group in enumerate(groups):
        name = f"g{number}"
        phrases = any_blanks("|".join(group["phrases"]))
        parts.append(f"(?P<{name}>(?:{phrases}))")
        meanings[name] = None if group["meaning"] == "none" else (group["meaning"], group["reach"])
    return re.compile(rf"(?:(?<![\w-])(?=\w)|(?=[^\w\s]))(?:{'|'.join(parts)})(?!\w)"), meanings


def _find_cues(text: str) -> tuple[list[_Cue], list[tuple[int, int]]]:
    """Find the cues of a sentence, and places of words with "no" or "not" that only look like one."""
    pattern, meanings = _patterns()
    cues, denials = [], []
    for match in pattern.finditer(text):
        meaning = meanings[match.lastgroup or ""]
        if meaning is not None:
            cues.append(_Cue(assertion=meaning[0], reach=meaning[1], start=match.start(), end=match.end()))
        elif _NOT.match(match.group()):
            denials.append(match.span())
    return cues, denials


def _clauses(text: str, cues: Sequence[_Cue], breaks: Sequence[int]) -> list[int]:
    """Where clauses begin, and at last the text's end: at every break, and at a joint that has a predicate on both its sides."""
    verbs = sorted({match.start() for match in _PREDICATE.finditer(text)} | {cue.start for cue in cues if not cue.forward})
    hard = sorted({0, *breaks, *(match.start() for match in _BREAK.finditer(text)), *_stating(text, cues)})
    soft = [match.end() for match in _JOINT.finditer(text)]
    bounds = [0]
    for joint in sorted({*hard, *soft} - {0}):
        if joint >= len(text):
            break
        if _member(hard, joint):
            bounds.append(joint)
            continue
        following = _next(hard, joint, len(text))
        next_joint = _next(soft, joint, len(text))
        if _PARTICIPLE.match(text, joint):
            continue  # "nodules observed in March and evaluated as metastases have disappeared"
        if _VERB_FIRST.match(text, joint) and _RELATIVE.search(text, bounds[-1], joint):
            continue  # the main clause goes on: "a nodule, which was seen before, is not seen"
        before = bisect_left(verbs, bounds[-1]) < bisect_left(verbs, joint)
        after = bisect_left(verbs, joint) < bisect_left(verbs, min(following, max(next_joint, joint)))
        if before and after:
            bounds.append(joint)
    return [*bounds, len(text) + 1]


def _stating(text: str, cues: Sequence[_Cue]) -> Iterator[int]:
    """Yield where a phrase that states follows one that a word before it denies, without "or" behind it."""
    denying = [cue for cue in cues if cue.assertion == "negated"]
    forward = sorted(cue.end for cue in denying if cue.forward)
    backward = sorted(cue.start for cue in denying if not cue.forward)
    for match in _STATING.finditer(text):
        is_denied = bisect_left(forward, match.start() + 1) > 0 and bisect_left(backward, match.end()) == len(backward)
        if is_denied and not _LIST.search(text, match.end(), match.end() + 60):
            yield match.end()


def _member(places: Sequence[int], place: int) -> bool:
    index = bisect_left(places, place)
    return index < len(places) and places[index] == place


def _next(places: Sequence[int], place: int, default: int) -> int:
    index = bisect_right(places, place)
    return places[index] if index < len(places) else default

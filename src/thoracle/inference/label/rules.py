"""The `rules` backend: labels by phrases and the scope of what qualifies them, with evidence; needs no model and no torch."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from thoracle.inference.label.evidence import Evidence, Labels
from thoracle.inference.label.scope import Judgement, Scope
from thoracle.inference.label.text import sentences, unreadable
from thoracle.inference.label.vocabulary import Rule, fingerprint, rules
from thoracle.types import ABNORMALITIES

_COMMA: Final = re.compile(r",\s|\s-\s")
#: Sentences recur from report to report: at most so many are remembered, about 100 MB.
_REMEMBERED: Final = 100_000


class RuleLabeller:
    """Labels reports by rules."""

    name: Final = "rules"
    parallel: Final = True

    def settings(self) -> dict[str, str]:
        """The hash of its rules and cues."""
        return {"rules": fingerprint()}

    def label(self, reports: Sequence[str]) -> list[Labels]:
        """The labels of each report, with evidence."""
        return [_label(report) for report in reports]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mention:
    rule: Rule
    start: int
    end: int
    judgement: Judgement


def _label(report: str) -> Labels:
    if reason := unreadable(report):
        return Labels.none(reason)
    evidence: list[list[Evidence]] = [[] for _ in ABNORMALITIES]
    for sentence in sentences(report):
        for mention in _mentions(sentence.text):
            evidence[mention.rule.abnormality].append(
                Evidence(
                    sentence=sentence.text,
                    start=sentence.start + mention.start,
                    end=sentence.start + mention.end,
                    rule=mention.rule.name,
                    assertion=mention.judgement.assertion,
                    cue=mention.judgement.cue,
                    counts=mention.judgement.assertion in mention.rule.counts,
                )
            )
    values = tuple(int(any(one.counts for one in found)) for found in evidence)
    return Labels(values=values, evidence=tuple(map(tuple, evidence)))


@lru_cache(maxsize=_REMEMBERED)
def _mentions(sentence: str) -> tuple[_Mention, ...]:
    lower = sentence.lower()
    scope: Scope | None = None
    found = []
    for rule in rules():
        for match in rule.find.finditer(lower):
            scope = scope or Scope(sentence)
            if _holds(rule, scope, match):
                judgement = scope.judge(match.start(), match.end())
                found.append(_Mention(rule=rule, start=match.start(), end=match.end(), judgement=judgement))
    return tuple(found)


def _holds(rule: Rule, scope: Scope, match: re.Match[str]) -> bool:
    """Whether a rule's other words are where it needs them, and not where it does not."""
    if rule.needs is None and rule.unless is None:
        return True
    first, last = _region(rule, scope, match)
    if rule.unless is not None and rule.unless.search(scope.text, first, last):
        return False
    return rule.needs is None or any(_close(rule, scope.text, match, other) for other in rule.needs.finditer(scope.text, first, last))


def _region(rule: Rule, scope: Scope, match: re.Match[str]) -> tuple[int, int]:
    if rule.near == "sentence":
        return 0, len(scope.text)
    first, last = scope.clause(match.start())
    if rule.near == "phrase":
        bounds = [first, *(comma.end() for comma in _COMMA.finditer(scope.text, first, last)), last]
        index = bisect_right(bounds, match.start())
        first, last = bounds[index - 1], bounds[min(index, len(bounds) - 1)]
    return first, max(last, match.end())


def _close(rule: Rule, text: str, match: re.Match[str], other: re.Match[str]) -> bool:
    between = text[min(match.end(), other.end()) : max(match.start(), other.start())]
    return rule.apart is None or len(between.split()) <= rule.apart

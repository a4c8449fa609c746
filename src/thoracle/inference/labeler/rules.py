"""The `rules` backend: labels by phrases and the scope of what qualifies them, with evidence; needs no model and no torch."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from thoracle.inference.labeler.evidence import LabelEvidence, Labels
from thoracle.inference.labeler.negation_scope import AssertionJudgement, AssertionScope
from thoracle.inference.labeler.sentences import sentences, unreadable
from thoracle.inference.labeler.vocabulary import Rule, fingerprint, rules
from thoracle.types import ABNORMALITIES

_COMMA: Final = re.compile(r",\s|\s-\s")
#: Sentences recur from report to report: at most so many are remembered, about 100 MB.
_REMEMBERED: Final = 100_000


class RuleLabeller:
    """Label reports by rules."""

    name: Final = "rules"
    parallel: Final = True

    def settings(self) -> dict[str, str]:
        """Return the hash of its rules and cues."""
        return {"rules": fingerprint()}

    def label(self, reports: Sequence[str]) -> list[Labels]:
        """Label each report, with evidence."""
        return [_label(report) for report in reports]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mention:
    rule: Rule
    start: int
    end: int
    judgement: AssertionJudgement


def _label(report: str) -> Labels:
    if reason := unreadable(report):
        return Labels.none(reason)
    evidence: list[list[LabelEvidence]] = [[] for _ in ABNORMALITIES]
    for sentence in sentences(report):
        for mention in _mentions(sentence.text):
            evidence[mention.rule.abnormality].append(
                LabelEvidence(
                    sentence=sentence.text,
                    start=sentence.start + mention.start,
                    end=sentence.start + mention.end,
                    rule=mention.rule.name,
                    assertion=mention.judgement.assertion,
                    cue=mention.judgement.cue,
                    counts=mention.judgement.assertion in mention.rule.positive,
                )
            )
    values = tuple(int(any(mention.counts for mention in mentions)) for mentions in evidence)
    return Labels(values=values, evidence=tuple(map(tuple, evidence)))


@lru_cache(maxsize=_REMEMBERED)
def _mentions(sentence: str) -> tuple[_Mention, ...]:
    lower = sentence.lower()
    scope: AssertionScope | None = None
    mentions = []
    for rule in rules():
        for match in rule.find.finditer(lower):
            scope = scope or AssertionScope(sentence)
            if _holds(rule, scope, match):
                judgement = scope.classify(match.start(), match.end())
                mentions.append(_Mention(rule=rule, start=match.start(), end=match.end(), judgement=judgement))
    return tuple(mentions)


def _holds(rule: Rule, scope: AssertionScope, match: re.Match[str]) -> bool:
    """Whether a rule's other words are where it needs them, and not where it does not."""
    if rule.require is None and rule.exclude is None:
        return True
    first, last = _region(rule, scope, match)
    if rule.exclude is not None and rule.exclude.search(scope.text, first, last):
        return False
    return rule.require is None or any(
        _close(rule, scope.text, match, companion) for companion in rule.require.finditer(scope.text, first, last)
    )


def _region(rule: Rule, scope: AssertionScope, match: re.Match[str]) -> tuple[int, int]:
    if rule.window == "sentence":
        return 0, len(scope.text)
    first, last = scope.clause(match.start())
    if rule.window == "phrase":
        bounds = [first, *(comma.end() for comma in _COMMA.finditer(scope.text, first, last)), last]
        index = bisect_right(bounds, match.start())
        first, last = bounds[index - 1], bounds[min(index, len(bounds) - 1)]
    return first, max(last, match.end())


def _close(rule: Rule, text: str, match: re.Match[str], companion: re.Match[str]) -> bool:
    between = text[min(match.end(), companion.end()) : max(match.start(), companion.start())]
    return rule.split is None or len(between.split()) <= rule.split

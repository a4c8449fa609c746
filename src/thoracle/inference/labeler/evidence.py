"""Hold the evidence of a report's labels: words, rule and cue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from thoracle.inference.labeler.negation_scope import Assertion
from thoracle.types import ABNORMALITIES

#: How a report speaks of an abnormality; a query, a history or another person's is no mention of the patient's chest today.
State = Literal["stated", "denied", "uncertain", "not mentioned"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelEvidence:
    """Hold one mention of an abnormality.

    Attributes:
        sentence: in which it stands, as the report has it.
        start, end: the mention's place in the report.
        rule: the rule that found it.
        assertion: how it is meant.
        cue: the words that say so; "" for a plain statement.
        counts: whether it makes the label 1.
    """

    sentence: str
    start: int
    end: int
    rule: str
    assertion: Assertion
    cue: str
    counts: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """Hold the labels of one report.

    Attributes:
        values: 1 stated, 0 denied or not mentioned, None unknown; in the order of `abnormalities`.
        evidence: for each label what speaks for and against it; empty where nothing does, or the backend cannot say.
        unknown: why all values are None; "" where they are not.
        scores: probabilities, of backends that have them.
        abnormalities: what is labelled, in the order of the values.
        windows: in how many the text was read; more than one where it is longer than a network reads at once.
    """

    values: tuple[int | None, ...]
    evidence: tuple[tuple[LabelEvidence, ...], ...] = ((),) * len(ABNORMALITIES)
    unknown: str = ""
    scores: tuple[float, ...] | None = None
    abnormalities: tuple[str, ...] = ABNORMALITIES
    windows: int = 1

    @classmethod
    def none(cls, reason: str, *, abnormalities: tuple[str, ...] = ABNORMALITIES) -> Labels:
        """Return unknown labels of a report that cannot be labelled, with the reason."""
        count = len(abnormalities)
        return cls(values=(None,) * count, evidence=((),) * count, unknown=reason, abnormalities=abnormalities)

    @property
    def states(self) -> tuple[State | None, ...]:
        """Return for each abnormality how the report speaks of it; None where that is unknown."""
        return tuple(map(_state, self.values, self.evidence))

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON types: for each abnormality its value and evidence."""
        findings: dict[str, Any] = {}
        for number, name in enumerate(self.abnormalities):
            findings[name] = {"value": self.values[number], "evidence": [_plain(mention) for mention in self.evidence[number]]}
            if self.scores is not None:
                findings[name]["score"] = round(self.scores[number], 6)
        return {"unknown": self.unknown or None, "labels": findings}


def _state(value: int | None, mentions: tuple[LabelEvidence, ...]) -> State | None:
    if value is None:
        return None
    assertions = {mention.assertion for mention in mentions if mention.counts == bool(value)}
    if value:
        return "uncertain" if assertions == {"uncertain"} else "stated"
    return "denied" if "negated" in assertions else "not mentioned"


def _plain(mention: LabelEvidence) -> dict[str, Any]:
    return {name: getattr(mention, name) for name in ("sentence", "start", "end", "rule", "assertion", "cue", "counts")}

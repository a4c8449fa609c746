"""The `rules` backend: labels by phrases and the scope of what qualifies them, with evidence; needs no model and no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from thoracle.inference.labeler.evidence import LabelEvidence, Labels
from thoracle.inference.labeler.mentions import Mention, SentenceReader
from thoracle.inference.labeler.sections import stating_parts
from thoracle.inference.labeler.sentences import Sentence, sentences, unreadable
from thoracle.inference.labeler.vocabulary import Vocabulary, builtin_vocabulary

#: Sentences recur from report to report: at most so many are remembered, about 100 MB.
_REMEMBERED: Final = 100_000


class RuleLabeller:
    """Label reports by rules.

    Args:
        vocabulary: abnormalities of one's own; None for the 18 of CT-RATE.
    """

    name: Final = "rules"
    parallel: Final = True

    def __init__(self, vocabulary: Vocabulary | None = None) -> None:
        self._own = vocabulary

    @property
    def abnormalities(self) -> tuple[str, ...]:
        """Return what is labelled, in the order of the values."""
        return self._vocabulary.abnormalities

    @property
    def _vocabulary(self) -> Vocabulary:
        return builtin_vocabulary() if self._own is None else self._own

    def settings(self) -> dict[str, str]:
        """Return the hash of its rules and cues."""
        return {"rules": self._vocabulary.fingerprint}

    def label(self, reports: Sequence[str]) -> list[Labels]:
        """Label each report, with evidence."""
        return [self._label(report) for report in reports]

    def _label(self, report: str) -> Labels:
        names = self.abnormalities
        if reason := unreadable(report):
            return Labels.none(reason, abnormalities=names)
        evidence: list[list[LabelEvidence]] = [[] for _ in names]
        for sentence, topic in _with_topics(report):
            for mention in _mentions(self._vocabulary, sentence.text, topic):
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
        return Labels(values=values, evidence=tuple(map(tuple, evidence)), abnormalities=names)


def _with_topics(report: str) -> Iterator[tuple[Sentence, str]]:
    """Yield sentences that can state something, each with the name of the field in its line that it still belongs to."""
    for begin, end in stating_parts(report):
        topic = ""
        for sentence in sentences(report, begin, end):
            topic = "" if sentence.opens_line else topic
            yield sentence, topic
            topic = _topic(sentence.text) or topic


@lru_cache(maxsize=_REMEMBERED)
def _topic(sentence: str) -> str:
    return SentenceReader(sentence).topic


@lru_cache(maxsize=_REMEMBERED)
def _mentions(vocabulary: Vocabulary, sentence: str, topic: str) -> tuple[Mention, ...]:
    return SentenceReader(sentence, topic=topic).mentions(vocabulary.rules)

"""Find what a sentence mentions, and how each mention is meant: by its clause, or by the field of a template that it names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from thoracle.inference.labeler.negation_scope import Assertion, AssertionJudgement, AssertionScope
from thoracle.inference.labeler.sentences import fold
from thoracle.inference.labeler.template_fields import TemplateField, template_fields
from thoracle.inference.labeler.vocabulary import Rule

_COMMA: Final = re.compile(r",\s|\s-\s")
#: Where the words of one mention end and those of the next begin.
_BETWEEN: Final = re.compile(r"[,;/+&]|\s(?:and|with|plus|but|as well as)\s")
_COORDINATED: Final = re.compile(r"\s*(?:,|and|or|as well as|/|&)\s*(?:\w+\s+){0,4}")
#: From what states most to what states least.
_STRENGTH: Final[tuple[Assertion, ...]] = ("affirmed", "uncertain", "historical", "negated", "hypothetical", "other person")
_TOPIC: Final = re.compile(
    r"thyroid|liver|hepat\w*|spleen|splenic|kidneys?|renal|adrenals?|pancrea\w*|breasts?|abdom\w*|bones?|skelet\w*|osseous\w*|"
    r"gallbladder|biliary|soft tissues?|bowel|stomach|spine|neck|pelvis|heart|cardiac|pericard\w*|aorta|aortic|coronar\w*|pleura\w*|"
    r"lymph\w*|nodes?|mediastin\w*|lungs?|airways?|bronch\w*"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mention:
    """Hold a mention: its rule, its place in the sentence, and how it is meant."""

    rule: Rule
    start: int
    end: int
    judgement: AssertionJudgement


class SentenceReader:
    """Read one sentence by rules.

    Args:
        sentence: without its final stop.
        topic: the name of the field of a template that it still belongs to; "" for none.
    """

    def __init__(self, sentence: str, *, topic: str = "") -> None:
        self.text = fold(sentence)
        self.fields = template_fields(self.text)
        self._inherited = topic

    @property
    def topic(self) -> str:
        """Return the organ that the last field names; "" without one."""
        names = [self.text[field.name_start : field.name_end] for field in self.fields]
        return next((name for name in reversed(names) if _TOPIC.search(name)), "")

    @cached_property
    def scope(self) -> AssertionScope:
        """Find cues and clauses; a clause ends where a field does."""
        places = {place for field in self.fields for place in (field.name_start, field.start, field.end)}
        return AssertionScope(self.text, breaks=sorted(places))

    def mentions(self, rules: Iterable[Rule]) -> tuple[Mention, ...]:
        """Find all mentions of all rules."""
        found_by = [(rule, matches) for rule in rules if (matches := list(rule.find.finditer(self.text)))]
        places = [(rule.abnormality, match.start()) for rule, matches in found_by for match in matches]
        return tuple(mention for rule, matches in found_by for mention in self._judged(rule, matches, places))

    def _judged(self, rule: Rule, matches: Sequence[re.Match[str]], places: Sequence[tuple[int, int]]) -> Iterator[Mention]:
        own = [place for abnormality, place in places if abnormality == rule.abnormality]
        for number, match in enumerate(matches):
            field = next((field for field in self.fields if field.name_start <= match.start() < field.name_end), None)
            if field is None:
                judgement = self._in_words(rule, matches, number)
            elif self._is_void(rule, match, field.name_start, field.end):
                judgement = None
            else:
                judgement = self._in_name(rule, match, field, any(field.start <= place < field.end for place in own))
            if judgement is not None:
                yield Mention(rule=rule, start=match.start(), end=match.end(), judgement=judgement)

    def _in_name(self, rule: Rule, match: re.Match[str], field: TemplateField, is_repeated: bool) -> AssertionJudgement | None:
        """How a name is meant: by what its rule requires in the field, or by what the field answers."""
        if rule.require is not None and not rule.require.search(self.text, field.name_start, field.name_end):
            companions = rule.require.finditer(self.text, field.start, field.end)
            return _strongest(self._in_field(field, companion) for companion in companions)
        if rule.topic:
            return None
        if field.verdict == "denied":
            cue = self.text[field.start : field.answer_end] or self.text[field.name_end : field.end].strip()
            return AssertionJudgement(assertion="negated", cue=cue, start=min(field.start, field.name_end))
        named = self.scope.classify(*match.span())
        if field.verdict == "stated" and named.assertion == "uncertain":  # by the "?" before its answer
            return AssertionJudgement(assertion="affirmed")
        if field.verdict == "stated" or named.assertion != "affirmed":
            return named
        return None if is_repeated else self.scope.classify_field(field.start)

    def _in_field(self, field: TemplateField, companion: re.Match[str]) -> AssertionJudgement:
        """How words of a field are meant that its name needs: "none enlarged" denies them."""
        if field.verdict == "denied" and not _COMMA.search(self.text, field.answer_end, companion.start()):
            return AssertionJudgement(assertion="negated", cue=self.text[field.start : field.answer_end], start=field.start)
        return self.scope.classify(*companion.span())

    def _in_words(self, rule: Rule, matches: Sequence[re.Match[str]], number: int) -> AssertionJudgement | None:
        match = matches[number]
        field = next((field for field in self.fields if field.start <= match.start() < field.end), None)
        first, last = self._region(rule, matches, number)
        if self._is_void(rule, match, first, last, field):
            return None
        own = self.scope.classify(*match.span())
        if rule.require is None:
            return own
        companions = [
            companion for companion in rule.require.finditer(self.text, first, last) if _is_close(rule, self.text, match, companion)
        ]
        if companions:
            return _strongest(_weakest(own, self.scope.classify(*companion.span())) for companion in companions)
        return own if self._is_named(rule.require, field) else None

    def _is_named(self, expression: re.Pattern[str], field: TemplateField | None) -> bool:
        """Whether the field's name, or that of the line's last field, matches."""
        if field is None:
            return bool(self._inherited) and expression.search(self._inherited) is not None
        return expression.search(self.text, field.name_start, field.name_end) is not None

    def _region(self, rule: Rule, matches: Sequence[re.Match[str]], number: int) -> tuple[int, int]:
        """Where words count as beside a mention: its window, less what lies nearer to other mentions of the rule."""
        match = matches[number]
        if rule.window == "sentence":
            return 0, len(self.text)
        first, last = self.scope.clause(match.start())
        if rule.window == "phrase":
            commas = [comma.end() for comma in _COMMA.finditer(self.text, first, last)]
            first = max((comma for comma in commas if comma <= match.start()), default=first)
            last = min((comma for comma in commas if comma > match.start()), default=last)
        for other in reversed(matches[:number]):
            if boundary := _boundary(self.text, other.end(), match.start()):
                first = max(first, boundary)
                break
        for previous, other in zip(matches[number:], matches[number + 1 :], strict=False):
            if boundary := _boundary(self.text, previous.end(), other.start()):
                last = min(last, boundary)
                break
        return first, max(last, match.end())

    def _is_void(self, rule: Rule, match: re.Match[str], first: int, last: int, field: TemplateField | None = None) -> bool:
        """Whether excluding words stand beside a mention, and no anchor nearer or in one list with them."""
        if rule.exclude is None:
            return False
        excluded = _nearest(rule.exclude, self.text, match, first, last)
        anchor = None if rule.anchor is None else _nearest(rule.anchor, self.text, match, first, last)
        if excluded is None:
            return anchor is None and self._is_named(rule.exclude, field)
        if anchor is None:
            return True
        if _distance(match, anchor) < _distance(match, excluded):
            return False
        between = self.text[min(anchor.end(), excluded.end()) : max(anchor.start(), excluded.start())]
        return _COORDINATED.fullmatch(between) is None


def _boundary(text: str, first: int, last: int) -> int:
    """Where the words of a later mention begin; 0 where both share theirs."""
    ends = [match.end() for match in _BETWEEN.finditer(text, first, last)]
    return ends[-1] if ends else 0


def _nearest(expression: re.Pattern[str], text: str, match: re.Match[str], first: int, last: int) -> re.Match[str] | None:
    return min(expression.finditer(text, first, last), key=lambda other: _distance(match, other), default=None)


def _distance(match: re.Match[str], other: re.Match[str]) -> int:
    """Letters between two matches; 0 where they overlap."""
    return max(0, other.start() - match.end(), match.start() - other.end())


def _is_close(rule: Rule, text: str, match: re.Match[str], companion: re.Match[str]) -> bool:
    between = text[min(match.end(), companion.end()) : max(match.start(), companion.start())]
    return rule.split is None or len(between.split()) <= rule.split


def _strongest(judgements: Iterable[AssertionJudgement]) -> AssertionJudgement | None:
    return min(judgements, key=lambda judgement: _STRENGTH.index(judgement.assertion), default=None)


def _weakest(*judgements: AssertionJudgement) -> AssertionJudgement:
    return max(judgements, key=lambda judgement: _STRENGTH.index(judgement.assertion))

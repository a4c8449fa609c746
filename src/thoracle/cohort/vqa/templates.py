"""Questions with answers, from labels and facts, by templates: balanced, and the same for the same cohort and seed.

No two questions about a scan ask for the same fact in the same task. Presence is asked in a word of each abnormality as often where it is
as where it is not; of two scans of a patient, changes are asked as often as what stayed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, pairwise
from typing import Final

from thoracle.cohort.vqa.case import Case, number_of, pick
from thoracle.cohort.vqa.choices import choice_questions
from thoracle.cohort.vqa.long_answers import long_answer_questions
from thoracle.cohort.vqa.short_answers import attribute_questions, group_questions, presence, short_answer
from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet
from thoracle.types import ABNORMALITIES

CHANGE: Final = ("Compared with the first scan, is {name} new, gone, still there or still absent in the second?",)
REPORT: Final = ("Write the report of this scan.", "Generate the radiology report for this chest CT.")
_TURNS: Final = 4
_CHANGES: Final = {(0, 1): "New.", (1, 0): "Gone.", (1, 1): "Still there.", (0, 0): "Still absent."}


def make_questions(cases: Sequence[Case], *, seed: int = 0, num_pairs: int | None = None) -> Iterator[QuestionSet]:
    """Generate all questions about each case, in order of the cases: four as turns of one conversation, the others alone.

    Args:
        cases: of one split.
        seed: of which questions are asked and in which words.
        num_pairs: of a scan, at most; presence and the report are always asked, the others drawn in turn of their topics. All by default.
    """
    chosen = _balanced(cases, seed)
    for number, case in enumerate(cases):
        always, report = chosen[number], list(_report(case, seed))
        others = [*attribute_questions(case, seed), *group_questions(case, seed)]
        others += [*choice_questions(case, seed), *long_answer_questions(case, seed)]
        if num_pairs is not None:
            others = _in_turn(others, case, seed)[: max(0, num_pairs - len(always) - len(report))]
        talks = [*_talks([*always, *others], case, seed), *((pair,) for pair in report)]
        yield from (QuestionSet(id=f"{case.volume}:{k}", images=(case.volume,), pairs=talk) for k, talk in enumerate(talks))
    yield from _changes(cases, seed)


def _balanced(cases: Sequence[Case], seed: int) -> list[list[QuestionAnswer]]:
    """Presence: of each abnormality the rarer answer's cases, and as many of the other's, drawn by hash."""
    chosen: list[list[QuestionAnswer]] = [[] for _ in cases]
    for name in ABNORMALITIES:
        of = {answer: [k for k, case in enumerate(cases) if case.presence.get(name) is answer] for answer in (False, True)}
        rarer = min(map(len, of.values()))
        for numbers in of.values():
            for k in sorted(numbers, key=lambda k: number_of(seed, "presence", name, cases[k].volume))[:rarer]:
                chosen[k].append(presence(name, cases[k], seed))
    return chosen


def _in_turn(pairs: Sequence[QuestionAnswer], case: Case, seed: int) -> list[QuestionAnswer]:
    """Put first one pair of each topic, then a second one, topics and their pairs as drawn by hash."""
    drawn = sorted(pairs, key=lambda pair: number_of(seed, "drawn", case.volume, pair.topic, pair.about))
    turns: defaultdict[str, Iterator[int]] = defaultdict(count)
    ranked = [(next(turns[pair.topic]), pair) for pair in drawn]
    return [pair for _, pair in sorted(ranked, key=lambda entry: entry[0])]


def _report(case: Case, seed: int) -> Iterator[QuestionAnswer]:
    if case.report:
        question = pick(REPORT, seed, case.volume)
        yield QuestionAnswer(question=question, answer=case.report, task="report_generation", type="report_generation", topic="report")


def _talks(pairs: Sequence[QuestionAnswer], case: Case, seed: int) -> list[tuple[QuestionAnswer, ...]]:
    """Some as turns of one conversation: who was asked one question only would not know what to make of a second."""
    if len(pairs) < _TURNS:
        return [(pair,) for pair in pairs]
    drawn = sorted(pairs, key=lambda pair: number_of(seed, "talk", case.volume, pair.question))[:_TURNS]
    return [*((pair,) for pair in pairs if pair not in drawn), tuple(replace(pair, type="conversation") for pair in drawn)]


def _changes(cases: Sequence[Case], seed: int) -> Iterator[QuestionSet]:
    """Of each patient's visit and the one before: what came, what went, and as many that stayed as they were.

    Of a visit that has several scans nobody knows which came first, so these are in no pair; nor is a scan whose visit is not known.
    """
    visits: defaultdict[str, dict[int, list[Case]]] = defaultdict(dict)
    for case in cases:
        if case.visit is not None:
            visits[case.patient].setdefault(case.visit, []).append(case)
    ordered = ([scans[number] for number in sorted(scans)] for scans in visits.values())
    pairs_in_time = (both for scans in ordered for both in pairwise(scans) if len(both[0]) == len(both[1]) == 1)
    for (before,), (after,) in pairs_in_time:
        pairs = list(zip(ABNORMALITIES, before.labels, after.labels, strict=True))
        labelled = [
            (name, (before_label, after_label))
            for name, before_label, after_label in pairs
            if before_label is not None and after_label is not None
        ]
        changed = [entry for entry in labelled if entry[1][0] != entry[1][1]]
        same = sorted((entry for entry in labelled if entry not in changed), key=lambda e: (-e[1][0], number_of(seed, e[0], after.volume)))
        for name, labels in (*changed, *same[: max(1, len(changed))]):
            question = pick(CHANGE, seed, name, after.volume).format(name=name.lower())
            yield QuestionSet(
                id=f"{before.volume}:{after.volume}:{name}",
                images=(before.volume, after.volume),
                pairs=(short_answer(question, _CHANGES[labels], "change", name),),
            )

"""Questions with answers, from labels and facts, by templates: balanced, and the same for the same cohort and seed.

Presence is asked of each abnormality as often where it is as where it is not; a choice's right letter moves through the places; of two
scans of a patient, changes are asked as often as what stayed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise
from typing import Final

from thoracle.cohort.sources import Labels
from thoracle.cohort.vqa.attributes import FindingAttributes, size_words
from thoracle.cohort.vqa.vqa_file import QuestionAnswer, QuestionSet
from thoracle.types import ABNORMALITIES

PRESENCE: Final = (
    "Is {name} present?",
    "Does this scan show {name}?",
    "Is there {name} in this scan?",
)
SIDE: Final = ("On which side is the {name}?", "Which side does the {name} lie on?")
LOBE: Final = ("In which lobe is the {name}?", "Which lobe holds the {name}?")
SIZE: Final = ("How large is the {name}?", "What does the {name} measure?")
COUNT: Final = ("How many parts has the {name}: one, two or several?", "Is the {name} one, two or several?")
CHOICE: Final = ("Which of these does the scan show?", "Which of these is present?")
CHANGE: Final = ("Compared with the first scan, is {name} new, gone, still there or still absent in the second?",)
REPORT: Final = ("Write the report of this scan.", "Generate the radiology report for this chest CT.")
_LETTERS: Final = "abcd"
_TURNS: Final = 4
_CHANGES: Final = {(0, 1): "New.", (1, 0): "Gone.", (1, 1): "Still there.", (0, 0): "Still absent."}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Hold a scan as questions are generated from it.

    Attributes:
        volume: the name of its volume.
        patient: whose.
        visit: numbers the patient's scans in the order of time; None where it is not known.
        labels: of `ABNORMALITIES`; None where nobody says.
        facts: by abnormality, of those that are there.
        report: what is to be written; "" where there is none.
    """

    volume: str
    patient: str
    labels: Labels
    facts: Mapping[str, FindingAttributes]
    report: str
    visit: int | None = None


def make_questions(cases: Sequence[Case], *, seed: int = 0) -> tuple[QuestionSet, ...]:
    """Generate all questions about each case, one per conversation, and a few conversations of several turns, in order of the cases."""
    chosen = _balanced(cases, seed)
    conversations: list[QuestionSet] = []
    for number, case in enumerate(cases):
        short = [*chosen[number], *_choice(case, number, seed), *_told(case, seed)]
        talks = [(pair,) for pair in (*short, *_report(case, seed))] + _talk(short, case, seed)
        conversations += [QuestionSet(id=f"{case.volume}:{k}", images=(case.volume,), pairs=pairs) for k, pairs in enumerate(talks)]
    return (*conversations, *_changes(cases, seed))


def _balanced(cases: Sequence[Case], seed: int) -> list[list[QuestionAnswer]]:
    """Presence: of each abnormality the rarer answer's cases, and as many of the other's, drawn by hash."""
    chosen: list[list[QuestionAnswer]] = [[] for _ in cases]
    for column, name in enumerate(ABNORMALITIES):
        of = {answer: [k for k, case in enumerate(cases) if case.labels[column] == answer] for answer in (0, 1)}
        rarer = min(map(len, of.values()))
        for answer, numbers in of.items():
            for k in sorted(numbers, key=lambda k: _hash(seed, "presence", name, cases[k].volume))[:rarer]:
                question = _any(PRESENCE, seed, name, cases[k].volume).format(name=name.lower())
                chosen[k].append(_short(question, "Yes." if answer else "No.", "presence", name))
    return chosen


def _told(case: Case, seed: int) -> Iterator[QuestionAnswer]:
    """What reports and masks tell of what is there; counts only of what is counted."""
    for name, facts in case.facts.items():
        answers = {
            "side": (SIDE, None if facts.side is None else f"{facts.side.capitalize()}."),
            "lobe": (LOBE, f"{facts.lobes[0].capitalize()}." if len(facts.lobes) == 1 else None),
            "size": (SIZE, None if facts.size_mm is None else f"{size_words(facts.size_mm)}."),
            "count": (COUNT, None if facts.count is None else f"{_few(facts.count)}."),
        }
        for topic, (templates, answer) in answers.items():
            if answer is not None:
                question = _any(templates, seed, topic, name, case.volume).format(name=name.lower())
                yield _short(question, answer, topic, name)


def _choice(case: Case, number: int, seed: int) -> Iterator[QuestionAnswer]:
    """One that is there among three that are not."""
    there, absent = ([name for name, label in zip(ABNORMALITIES, case.labels, strict=True) if label == want] for want in (1, 0))
    if not there or len(absent) < len(_LETTERS) - 1:
        return
    right = min(there, key=lambda name: _hash(seed, "right", name, case.volume))
    others = sorted(absent, key=lambda name: _hash(seed, "wrong", name, case.volume))[: len(_LETTERS) - 1]
    position = number % len(_LETTERS)
    names = [*others[:position], right, *others[position:]]
    options = " ".join(f"({letter}) {name.lower()}" for letter, name in zip(_LETTERS, names, strict=True))
    yield QuestionAnswer(
        question=f"{_any(CHOICE, seed, case.volume)} {options}",
        answer=f"({_LETTERS[position]}) {right.lower()}",
        task="multiple_choice",
        type="multiple_choice",
        topic="choice",
        about=right,
    )


def _report(case: Case, seed: int) -> Iterator[QuestionAnswer]:
    if case.report:
        question = _any(REPORT, seed, case.volume)
        yield QuestionAnswer(question=question, answer=case.report, task="report_generation", type="report_generation", topic="report")


def _talk(pairs: Sequence[QuestionAnswer], case: Case, seed: int) -> list[tuple[QuestionAnswer, ...]]:
    """Some of them as turns of one conversation: who was asked one question only would not know what to make of a second."""
    if len(pairs) < _TURNS:
        return []
    drawn = sorted(pairs, key=lambda pair: _hash(seed, "talk", case.volume, pair.question))[:_TURNS]
    return [tuple(replace(pair, type="conversation", topic="conversation") for pair in drawn)]


def _changes(cases: Sequence[Case], seed: int) -> Iterator[QuestionSet]:
    """Of each patient's visit and the one before: what came, what went, and as many that stayed as they were.

    Of a visit that has several scans nobody knows which came first, so these are in no pair; nor is a scan whose visit is not known.
    """
    visits: dict[str, dict[int, list[Case]]] = {}
    for case in cases:
        if case.visit is not None:
            visits.setdefault(case.patient, {}).setdefault(case.visit, []).append(case)
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
        same = sorted((entry for entry in labelled if entry not in changed), key=lambda e: (-e[1][0], _hash(seed, e[0], after.volume)))
        for name, labels in (*changed, *same[: max(1, len(changed))]):
            question = _any(CHANGE, seed, name, after.volume).format(name=name.lower())
            yield QuestionSet(
                id=f"{before.volume}:{after.volume}:{name}",
                images=(before.volume, after.volume),
                pairs=(_short(question, _CHANGES[labels], "change", name),),
            )


def _short(question: str, answer: str, topic: str, about: str) -> QuestionAnswer:
    return QuestionAnswer(question=question, answer=answer, task="short_answer", type="short_answer", topic=topic, about=about)


def _few(count: str) -> str:
    return count.capitalize() if count in ("one", "two") else "Several"


def _any(templates: Sequence[str], *key: object) -> str:
    return templates[_hash(*key) % len(templates)]


def _hash(*key: object) -> int:
    return int.from_bytes(sha256("\0".join(map(str, key)).encode()).digest()[:8])

"""Questions with four answers: one of them right, by the case that they were made of, and its letter anywhere."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

from hypothesis import given, settings

from tests.cohort.vqa.scans import drawn_case, fixed_cases
from thoracle.cohort.vqa.case import Case
from thoracle.cohort.vqa.choices import choice_questions
from thoracle.cohort.vqa.vqa_file import QuestionAnswer
from thoracle.types import ABNORMALITIES

NAMES = {name.lower(): name for name in ABNORMALITIES}


def _options(pair: QuestionAnswer) -> dict[str, str]:
    return dict(re.findall(r"\(([a-d])\) (.*?)(?= \([a-d]\)|$)", pair.question))


def _truth(pair: QuestionAnswer, option: str, case: Case) -> bool:
    """Whether an option says what the case says."""
    there = case.presence
    if pair.topic == "choice":
        shown = [name for text, name in NAMES.items() if text in _options(pair).values() and there[name]]
        return not shown if option == "none of these" else NAMES[option] in shown
    if pair.topic == "either choice":
        first, second = pair.about.split(" / ")
        says = {"both": (1, 1), "neither": (0, 0), f"{first.lower()} alone": (1, 0), f"{second.lower()} alone": (0, 1)}
        return says[option] == (there[first], there[second])
    if option == "it is not present":
        return not there[pair.about]
    facts = case.attributes(pair.about)
    said = {"side": facts.side, "lobe": facts.lobes[0] if len(facts.lobes) == 1 else None, "severity": facts.severity}
    return there[pair.about] and said[pair.topic.removesuffix(" choice")] == option


@given(drawn_case())
@settings(max_examples=60, deadline=None)
def test_one_of_four_is_right_and_it_is_the_answer(case: Case) -> None:
    for pair in choice_questions(case, 1):
        options = _options(pair)
        assert sorted(options) == ["a", "b", "c", "d"]
        assert len(set(options.values())) == 4
        assert [f"({letter}) {option}" for letter, option in options.items() if _truth(pair, option, case)] == [pair.answer]


@given(drawn_case())
@settings(max_examples=60, deadline=None)
def test_no_abnormality_is_offered_twice_as_what_a_scan_shows(case: Case) -> None:
    offered = [option for pair in choice_questions(case, 1) if pair.topic == "choice" for option in _options(pair).values()]
    named = Counter(option for option in offered if option != "none of these")
    assert set(named.values()) <= {1}


def test_letters_are_right_about_as_often() -> None:
    letters: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for case in fixed_cases(60):
        for pair in choice_questions(case, 0):
            letters[pair.topic][pair.answer[1]] += 1
    assert set(letters) == {"choice", "side choice", "lobe choice", "severity choice", "either choice"}
    for counts in letters.values():
        assert all(0.18 < counts[letter] / counts.total() < 0.32 for letter in "abcd"), counts

"""Questions with answers of a word or two, from labels and facts, by templates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from thoracle.cohort.vqa.attributes import size_words
from thoracle.cohort.vqa.case import REGIONS, Case, pick
from thoracle.cohort.vqa.sentences import capital, listing
from thoracle.cohort.vqa.vqa_file import QuestionAnswer

PRESENCE: Final = ("Is {name} present?", "Does this scan show {name}?", "Is there {name} in this scan?")
SIDE: Final = ("On which side is the {name}?", "Which side does the {name} lie on?")
LOBE: Final = ("In which lobe is the {name}?", "Which lobe holds the {name}?")
SIZE: Final = ("How large is the {name}?", "What does the {name} measure?")
COUNT: Final = ("How many parts has the {name}: one, two or several?", "Is the {name} one, two or several?")
SEVERITY: Final = ("How severe is the {name}?", "Is the {name} mild, moderate or severe?")
ANY: Final = ("Is any of these present: {names}?", "Does this scan show any of these: {names}?")
NUMBER: Final = ("How many of these are present: {names}?", "How many of these does the scan show: {names}?")
EITHER: Final = ("Which of the two is present, {first} or {second}?", "{First} or {second}: which does the scan show?")


def presence(name: str, case: Case, seed: int) -> QuestionAnswer:
    """Ask whether an abnormality is there, of which somebody says so."""
    question = pick(PRESENCE, seed, name, case.volume).format(name=name.lower())
    return short_answer(question, "Yes." if case.presence[name] else "No.", "presence", name)


def attribute_questions(case: Case, seed: int) -> Iterator[QuestionAnswer]:
    """Ask what reports and masks say of what is there: side, lobe, size, number of parts, severity."""
    for name, facts in case.facts.items():
        answers = {
            "side": (SIDE, facts.side),
            "lobe": (LOBE, facts.lobes[0] if len(facts.lobes) == 1 else None),
            "size": (SIZE, None if facts.size_mm is None else size_words(facts.size_mm)),
            "count": (COUNT, facts.count if facts.count in (None, "one", "two") else "several"),
            "severity": (SEVERITY, facts.severity),
        }
        for topic, (templates, answer) in answers.items():
            if answer is not None:
                question = pick(templates, seed, topic, name, case.volume).format(name=name.lower())
                yield short_answer(question, f"{capital(answer)}.", topic, name)


def group_questions(case: Case, seed: int) -> Iterator[QuestionAnswer]:
    """Ask of a region's abnormalities whether any is there, and of many how many; of two, which."""
    there = case.presence
    for region, names in REGIONS.items():
        if not there.keys() >= set(names):
            continue
        listed, count = listing([name.lower() for name in names], last="or"), sum(there[name] for name in names)
        yield short_answer(pick(ANY, seed, region, case.volume).format(names=listed), "Yes." if count else "No.", "any", region)
        if len(names) > 2:
            question = pick(NUMBER, seed, region, case.volume).format(names=listed.replace(" or ", " and "))
            yield short_answer(question, f"{count}.", "number", region)
    for first, second in case.comparisons(seed, "short"):
        lower = {"first": first.lower(), "second": second.lower()}
        question = pick(EITHER, seed, first, case.volume).format(First=first, **lower)
        answer = {(1, 1): "Both", (0, 0): "Neither", (1, 0): first, (0, 1): second}[there[first], there[second]]
        yield short_answer(question, f"{answer}.", "either", f"{first} / {second}")


def short_answer(question: str, answer: str, topic: str, about: str) -> QuestionAnswer:
    """Make a question that a word or two answer."""
    return QuestionAnswer(question=question, answer=answer, task="short_answer", type="short_answer", topic=topic, about=about)

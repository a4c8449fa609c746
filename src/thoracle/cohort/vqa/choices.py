"""Questions with four answers to choose from, from labels and facts: what is there, on which side, in which lobe, how severe it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from thoracle.cohort.vqa.attributes import LOBES, SEVERITIES, SIDES, FindingAttributes
from thoracle.cohort.vqa.case import LATERAL, LOBAR, UNGRADED, Case, number_of, pick
from thoracle.cohort.vqa.vqa_file import QuestionAnswer

CHOICE: Final = ("Which of these does the scan show?", "Which of these is present?")
#: Of an attribute: how it is asked, what it may be, and what it is.
ATTRIBUTES: Final[dict[str, tuple[str, tuple[str, ...], Callable[[FindingAttributes], str | None]]]] = {
    "side": ("Where is the {name}, if there is any?", SIDES, lambda facts: facts.side),
    "lobe": ("Which lobe holds {name}, if any?", LOBES, lambda facts: facts.lobes[0] if len(facts.lobes) == 1 else None),
    "severity": ("How severe is {name}, if there is any?", SEVERITIES, lambda facts: facts.severity),
}
PAIR: Final = ("What does the scan show of {first} and {second}?",)
_LETTERS: Final = "abcd"
_NOWHERE, _NONE = "it is not present", "none of these"


def choice_questions(case: Case, seed: int) -> Iterator[QuestionAnswer]:
    """Ask all that can be chosen of a scan's findings; none is asked for twice in the same way."""
    yield from _presence(case, seed)
    graded = [name for name in case.presence if name not in UNGRADED]
    for topic, names in (("side", LATERAL), ("lobe", LOBAR), ("severity", graded)):
        yield from _attribute(case, seed, topic, names)
    there = case.presence
    for first, second in case.comparisons(seed, "choice"):
        options = ["both", f"{first.lower()} alone", f"{second.lower()} alone", "neither"]
        right = {(1, 1): 0, (1, 0): 1, (0, 1): 2, (0, 0): 3}[there[first], there[second]]
        question = pick(PAIR, seed, first, case.volume).format(first=first.lower(), second=second.lower())
        key = (seed, "either", first, case.volume)
        yield _choice(question, options, options[right], topic="either choice", about=f"{first} / {second}", key=key)


def _presence(case: Case, seed: int) -> Iterator[QuestionAnswer]:
    """One that is there among three that are not; of what is absent and left over, three and none of these."""
    there = sorted((name for name, is_there in case.presence.items() if is_there), key=lambda name: number_of(seed, name, case.volume))
    absent = [name for name, is_there in case.presence.items() if not is_there]
    absent.sort(key=lambda name: number_of(seed, "absent", name, case.volume))
    for start in range(0, len(absent) - 2, 3):
        names = [name.lower() for name in absent[start : start + 3]]
        right = there.pop() if there else _NONE
        question = pick(CHOICE, seed, right, start, case.volume)
        about = " / ".join(sorted(absent[start : start + 3])) if right == _NONE else right
        yield _choice(question, [*names, right.lower()], right.lower(), topic="choice", about=about, key=(seed, about, case.volume))


def _attribute(case: Case, seed: int, topic: str, names: Sequence[str]) -> Iterator[QuestionAnswer]:
    """Ask an attribute of each abnormality; of those that are absent it is that they are not there."""
    template, values, read = ATTRIBUTES[topic]
    for name in names:
        right = None if name not in case.presence else read(case.attributes(name)) if case.presence[name] else _NOWHERE
        if right is not None:
            key = (seed, topic, name, case.volume)
            others = sorted((value for value in values if value != right), key=lambda value: number_of(*key, value))
            wrong = [*([_NOWHERE] if right != _NOWHERE else []), *others][: len(_LETTERS) - 1]
            yield _choice(template.format(name=name.lower()), [*wrong, right], right, topic=f"{topic} choice", about=name, key=key)


def _choice(question: str, options: Sequence[str], right: str, *, topic: str, about: str, key: tuple[object, ...]) -> QuestionAnswer:
    """Letters stand before the options in an order that the key draws."""
    drawn = sorted(options, key=lambda option: number_of("order", *key, option))
    listed = " ".join(f"({letter}) {option}" for letter, option in zip(_LETTERS, drawn, strict=True))
    return QuestionAnswer(
        question=f"{question} {listed}",
        answer=f"({_LETTERS[drawn.index(right)]}) {right}",
        task="multiple_choice",
        type="multiple_choice",
        topic=topic,
        about=about,
    )

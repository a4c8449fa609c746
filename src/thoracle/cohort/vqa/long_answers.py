"""Questions that whole sentences answer: of a finding, of a region, of two findings beside each other, of all that is there or absent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from thoracle.cohort.vqa.attributes import LOBES, size_words
from thoracle.cohort.vqa.case import LATERAL, LOBAR, REGIONS, Case, pick
from thoracle.cohort.vqa.sentences import capital, denial, listing, phrase, statement
from thoracle.cohort.vqa.vqa_file import QuestionAnswer

FINDING: Final = ("Describe the {name}, if there is any.", "What does the scan show of {name}?")
REGION: Final = ("Describe the findings {where}.", "What do you see {where}?")
COMPARISON: Final = ("Compare {first} and {second} in this scan.", "How do {first} and {second} differ in this scan?")
PRESENT: Final = ("Which abnormalities does this scan show?", "What is abnormal in this scan?")
ABSENT: Final = ("Which abnormalities does this scan not show?", "What is not present in this scan?")
SIZES: Final = ("Which sizes are measured in this scan?", "What do the findings of this scan measure?")


def long_answer_questions(case: Case, seed: int) -> Iterator[QuestionAnswer]:
    """Ask all that whole sentences say of a scan; no two questions ask for the same."""
    there = case.presence
    for name in there:
        question = pick(FINDING, seed, "finding", name, case.volume).format(name=name.lower())
        yield _long(question, _described(case, [name]), "finding", name)
    for region, names in REGIONS.items():
        known = [name for name in names if name in there]
        if len(known) > 1:
            yield _region(region, f"in the {region}", _described(case, known), case, seed)
    yield from _places(case, seed)
    for first, second in case.comparisons(seed, "long"):
        question = pick(COMPARISON, seed, first, case.volume).format(first=first.lower(), second=second.lower())
        yield _long(question, _compared(case, first, second), "comparison", f"{first} / {second}")
    present, absent = ([name for name, is_there in there.items() if is_there is want] for want in (True, False))
    if present:
        yield _long(pick(PRESENT, seed, case.volume), _described(case, present), "findings", "present")
    if absent:
        yield _long(pick(ABSENT, seed, case.volume), _described(case, absent), "findings", "absent")
    sized = {name: facts.size_mm for name, facts in case.facts.items() if facts.size_mm is not None}
    if sized:
        listed = listing([f"{name.lower()} measures {size_words(size)}" for name, size in sized.items()])
        yield _long(pick(SIZES, seed, case.volume), f"{capital(listed)}.", "findings", "sizes")


def _described(case: Case, names: Sequence[str]) -> str:
    """What is there, then what is not."""
    present = [phrase(name, case.attributes(name)) for name in names if case.presence[name]]
    absent = [name for name in names if not case.presence[name]]
    return " ".join([*([statement(present)] if present else []), *([denial(absent)] if absent else [])])


def _places(case: Case, seed: int) -> Iterator[QuestionAnswer]:
    """Of a side and of a lobe: what is said to lie there; that nothing does only where nothing of its kind is there at all."""
    there = case.presence
    for names, regions in ((LATERAL, ("right side", "left side")), (LOBAR, LOBES)):
        known = [name for name in names if name in there]
        for region in regions:
            where = f"{'on' if region.endswith('side') else 'in'} the {region}"
            located = [_within(case, name, region) for name in known if there[name] and _lies(case, name, region)]
            if located:
                yield _region(region, where, f"{capital(where)} there is {listing(located)}.", case, seed)
            elif len(known) > 1 and not any(there[name] for name in known):
                yield _region(region, where, denial(known, where=where), case, seed)


def _lies(case: Case, name: str, region: str) -> bool:
    facts = case.attributes(name)
    return facts.side in ("both", region.removesuffix(" side")) if region.endswith("side") else region in facts.lobes


def _within(case: Case, name: str, region: str) -> str:
    """A finding as it is said of a place; that it lies in a lobe is not said again of this lobe."""
    facts = case.attributes(name)
    return phrase(name, facts if region.endswith("side") else replace(facts, side=None, lobes=()))


def _compared(case: Case, first: str, second: str) -> str:
    if case.presence[first] == case.presence[second]:
        phrases = [phrase(name, case.attributes(name)) for name in (first, second)]
        return (
            f"Both are present: {listing(phrases)}."
            if case.presence[first]
            else f"Neither {first.lower()} nor {second.lower()} is present."
        )
    return _described(case, [first, second])


def _region(region: str, where: str, answer: str, case: Case, seed: int) -> QuestionAnswer:
    question = pick(REGION, seed, region, case.volume).format(where=where)
    return _long(question, answer, "region", region, kind="description")


def _long(question: str, answer: str, topic: str, about: str, *, kind: str = "free_response") -> QuestionAnswer:
    return QuestionAnswer(question=question, answer=answer, task="long_answer", type=kind, topic=topic, about=about)

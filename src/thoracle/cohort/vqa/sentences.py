"""Say in words what is known of findings: that they are there and where, or that they are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from thoracle.cohort.vqa.attributes import FindingAttributes, size_words

_SIDES: Final = {"right": "on the right", "left": "on the left", "both": "on both sides"}


def phrase(name: str, facts: FindingAttributes) -> str:
    """Write a finding with what is known of it, for example "mild pleural effusion on the right, 12 mm"."""
    where = place(facts)
    graded = f"{facts.severity} {name.lower()}" if facts.severity else name.lower()
    measured = "" if facts.size_mm is None else f", {size_words(facts.size_mm)}"
    return f"{graded}{where and f' {where}'}{measured}"


def statement(phrases: Sequence[str]) -> str:
    """Write a sentence that says that all of these are there."""
    return f"There is {listing(phrases)}."


def denial(names: Sequence[str], *, where: str = "") -> str:
    """Write a sentence that says that none of these is there."""
    return f"There is no {listing([name.lower() for name in names], last='or')}{where and f' {where}'}."


def place(facts: FindingAttributes) -> str:
    """Write where a finding lies, by its lobes if they are known; "" where nothing is."""
    if facts.lobes:
        return f"in {listing([f'the {lobe}' for lobe in facts.lobes])}"
    return "" if facts.side is None else _SIDES[facts.side]


def listing(names: Sequence[str], *, last: str = "and") -> str:
    """Join names by commas, the last one by a word."""
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def capital(text: str) -> str:
    """Write a text with a capital letter at its beginning."""
    return text[:1].upper() + text[1:]

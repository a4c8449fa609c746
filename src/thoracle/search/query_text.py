"""Parse the parts of a query that are written as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from thoracle.errors import InputError
from thoracle.search.engine import QueryPart


def parse_age_range(text: str) -> tuple[int | None, int | None]:
    """Parse "40-60", "40-", "-60" or "40" into years, both included; None where a side is open.

    Raises:
        InputError: another form.
    """
    start, dash, end = text.partition("-")
    if not all(part.isdecimal() or not part for part in (start, end)) or (text and not (start or end)):
        raise InputError(f"--age expects 40-60, 40- or -60, got {text!r:.20}", hint="Write it so.")
    first, last = (int(part) if part else None for part in (start, end))
    return first, last if dash else first


def parse_scores(texts: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Parse "Pneumothorax=0.5" into a finding and the least probability that passes.

    Raises:
        InputError: another form.
    """
    scores = []
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            scores.append((name.strip(), float(number)))
        except ValueError as error:
            raise InputError(f"--scored expects NAME=PROBABILITY, got {text!r:.60}", hint="Write for example --scored Mass=0.5.") from error
    if not all(name for name, _ in scores):
        raise InputError("--scored names no finding", hint="Write for example --scored Mass=0.5.")
    return tuple(scores)


def parse_weights(texts: Sequence[str]) -> dict[QueryPart, float]:
    """Parse "text=2" into the weight of each part of a query; which parts there are, `Engine.search` checks.

    Raises:
        InputError: another form.
    """
    weights = {}
    for text in texts:
        try:
            part, number = text.split("=")
            weights[cast(QueryPart, part)] = float(number)
        except ValueError as error:
            raise InputError(f"--weight expects PART=NUMBER, got {text!r:.60}", hint="Write for example --weight text=2.") from error
    return weights

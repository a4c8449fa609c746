"""Ages and weights as people write them."""

from __future__ import annotations

import pytest

from thoracle.errors import InputError
from thoracle.search.query_text import parse_age_range, parse_scores, parse_weights


@pytest.mark.parametrize(
    ("text", "years"), [("", (None, None)), ("40-60", (40, 60)), ("40-", (40, None)), ("-60", (None, 60)), ("40", (40, 40))]
)
def test_ages(text: str, years: tuple[int | None, int | None]) -> None:
    assert parse_age_range(text) == years


@pytest.mark.parametrize("text", ["old", "-", "40-x", "4.5", "40-60-80"])
def test_ages_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="--age"):
        parse_age_range(text)


def test_scores() -> None:
    assert parse_scores(["Mass=0.5", " T4 = stage =1e-1"]) == (("Mass", 0.5), ("T4 = stage", 0.1))
    for texts in (["Mass"], ["Mass=much"], ["=0.5"], ["0.5"]):
        with pytest.raises(InputError, match="--scored"):
            parse_scores(texts)


def test_the_one_that_is_wrong_is_named() -> None:
    with pytest.raises(InputError, match=r"got 'Cyst=50%'"):
        parse_scores(["Mass=0.5", "Cyst=50%"])
    with pytest.raises(InputError, match=r"got 'like:2'"):
        parse_weights(["text=2", "like:2"])


def test_weights() -> None:
    assert parse_weights(["text=2", "like=1e-1"]) == {"text": 2.0, "like": 0.1}
    for texts in (["text"], ["text=much"], ["text=1=2"]):
        with pytest.raises(InputError, match="--weight"):
            parse_weights(texts)

"""Reciprocal rank fusion from its formula: ranks count, and neither scores nor the order of parts do."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.search.backend import Matches
from thoracle.search.fusion import fuse

PARTS = ("text", "scan", "report", "keyword")


@st.composite
def _rankings(draw: st.DrawFn) -> dict[str, Matches]:
    """Up to four rankings of up to eight of twelve records, with scores that fall."""
    rankings: dict[str, Matches] = {}
    for part in draw(st.lists(st.sampled_from(PARTS), unique=True)):
        numbers = draw(st.lists(st.integers(1, 12), unique=True, max_size=8))
        rankings[part] = [(number, 1.0 - rank / 16) for rank, number in enumerate(numbers)]
    return rankings


_WEIGHTS = st.dictionaries(st.sampled_from(PARTS), st.floats(0.01, 100))


def _exact(rankings: dict[str, Matches], weights: dict[str, float]) -> dict[int, Fraction]:
    """The sum of weight / (60 + rank) in exact numbers."""
    scores: dict[int, Fraction] = {}
    for part, matches in rankings.items():
        for rank, (number, _) in enumerate(matches, start=1):
            scores[number] = scores.get(number, Fraction(0)) + Fraction(weights.get(part, 1.0)) / (60 + rank)
    return scores


def test_fusion_is_reciprocal_rank_with_weights() -> None:
    rankings = {"text": [(1, 9.0), (2, 8.0)], "keyword": [(2, 0.3), (3, 0.1)]}
    assert fuse(rankings, weights={}) == [(2, 1 / 62 + 1 / 61), (1, 1 / 61), (3, 1 / 62)]
    assert fuse(rankings, weights={"text": 3.0})[0] == (2, 3 / 62 + 1 / 61)
    assert [n for n, _ in fuse(rankings, weights={"text": 99.0, "keyword": 0.01})] == [1, 2, 3]
    assert fuse({}, weights={"text": 3.0}) == []


@given(rankings=_rankings(), weights=_WEIGHTS)
def test_scores_are_those_of_the_formula_and_fall(rankings: dict[str, Matches], weights: dict[str, float]) -> None:
    fused = fuse(rankings, weights=weights)
    exact = _exact(rankings, weights)
    assert dict(fused) == pytest.approx({number: float(score) for number, score in exact.items()}, rel=1e-12)
    assert len(fused) == len(exact)
    assert fused == sorted(fused, key=lambda match: (-match[1], match[0]))


@given(rankings=_rankings(), weights=_WEIGHTS, scale=st.floats(0.001, 1000), offset=st.floats(-1000, 1000))
def test_the_scale_of_scores_does_not_count(rankings: dict[str, Matches], weights: dict[str, float], scale: float, offset: float) -> None:
    other = {part: [(number, scale * score + offset) for number, score in matches] for part, matches in rankings.items()}
    assert fuse(other, weights=weights) == fuse(rankings, weights=weights)


@given(rankings=_rankings(), weights=_WEIGHTS, data=st.data())
def test_the_order_of_parts_does_not_count(rankings: dict[str, Matches], weights: dict[str, float], data: st.DataObject) -> None:
    order = data.draw(st.permutations(list(rankings)))
    assert fuse({part: rankings[part] for part in order}, weights=weights) == fuse(rankings, weights=weights)


@given(rankings=_rankings(), weights=_WEIGHTS, numbers=st.permutations(range(1, 13)))
def test_another_numbering_of_records_changes_only_the_order_of_ties(
    rankings: dict[str, Matches], weights: dict[str, float], numbers: list[int]
) -> None:
    other = {part: [(numbers[number - 1], score) for number, score in matches] for part, matches in rankings.items()}
    renumbered = {numbers[number - 1]: score for number, score in fuse(rankings, weights=weights)}
    assert dict(fuse(other, weights=weights)) == renumbered


def test_of_ties_the_smaller_number_comes_first_though_floats_depend_on_the_order_of_a_sum() -> None:
    assert 1 / 61 + 1 / 67 + 1 / 62 < 1 / 62 + 1 / 61 + 1 / 67, "a plain sum puts record 2 first"
    rankings: dict[str, Matches] = {}
    for part, first, second in (("text", 1, 2), ("scan", 7, 1), ("report", 2, 7)):  # ranks of records 1 and 2
        numbers = {first: 1, second: 2}
        rankings[part] = [(numbers.get(rank, 100 + rank), 1.0) for rank in range(1, 8)]
    scores = dict(fuse(rankings, weights={}))
    assert scores[1] == scores[2]
    assert [number for number in scores if number < 100] == [1, 2]

"""A scan as questions are made of it."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings

from tests.cohort.vqa.scans import drawn_case
from thoracle.cohort.vqa.case import LATERAL, LOBAR, REGIONS, UNGRADED, Case, number_of, pick
from thoracle.types import ABNORMALITIES


def test_regions_and_places_name_abnormalities_and_none_is_in_two_regions() -> None:
    names = Counter(name for region in REGIONS.values() for name in region)
    assert set(names.values()) == {1}
    assert {*names, *LATERAL, *LOBAR, *UNGRADED} <= set(ABNORMALITIES)
    assert set(ABNORMALITIES) - set(names) == {"Medical material", "Pleural effusion"}, "alone in their regions: asked for by name"


@given(drawn_case())
@settings(max_examples=40, deadline=None)
def test_comparisons_take_each_abnormality_that_somebody_speaks_of_once_at_most(case: Case) -> None:
    names = [name for both in case.comparisons(0, "long") for name in both]
    assert len(set(names)) == len(names)
    assert set(names) <= case.presence.keys()
    assert len(case.presence) - len(names) in (0, 1)
    assert list(case.comparisons(0, "long")) == list(case.comparisons(0, "long"))


def test_what_is_drawn_by_a_key_hangs_on_all_of_it() -> None:
    assert number_of(0, "a", "b") == number_of(0, "a", "b")
    assert len({number_of(0, "a", "b"), number_of(1, "a", "b"), number_of(0, "ab", ""), number_of(0, "b", "a")}) == 4
    assert {pick(("x", "y"), key) for key in range(20)} == {"x", "y"}

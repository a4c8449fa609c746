from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.training.zeroshot import auroc


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=20))
def test_auroc_is_the_share_of_pairs_in_order(scored: list[tuple[int, bool]]) -> None:
    positive = [score for score, label in scored if label]
    negative = [score for score, label in scored if not label]
    got = auroc([score for score, _ in scored], [label for _, label in scored])
    if not positive or not negative:
        assert math.isnan(got)
        return
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p, n in product(positive, negative)]
    assert got == pytest.approx(sum(pairs) / len(pairs))

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from thoracle.metrics.correlation import spearman


def test_a_value_by_hand() -> None:
    """Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: products of deviations 4.5, squares 4.5 and 5."""
    assert spearman([1, 5, 5, 9], [0, 1, 2, 30]) == pytest.approx(4.5 / math.sqrt(4.5 * 5))


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=12))
def test_weights_are_copies(values: list[tuple[int, int, int]]) -> None:
    first, second, weights = np.array(values).T
    (weighted,) = spearman(first, second, weights_RN=weights[None])
    copies = [np.repeat(column, weights) for column in (first, second)]
    if min(len(np.unique(column)) for column in copies) < 2:
        assert math.isnan(weighted)
    else:
        assert weighted == pytest.approx(spearmanr(*copies).statistic, abs=1e-9)
        assert spearman(*copies) == pytest.approx(weighted, abs=1e-9)


def test_draws_are_each_their_own() -> None:
    first, second = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 0.0])
    weights = np.array([[1, 1, 0], [0, 1, 1], [3, 0, 0]])
    np.testing.assert_array_equal(spearman(first, second, weights_RN=weights), [1, -1, np.nan])
    assert math.isnan(spearman([], []))

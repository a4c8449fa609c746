"""How labels go together: correlations worked by hand, unknown cells, columns that do not vary."""

from __future__ import annotations

import numpy as np
import pytest

from thoracle.metrics.cooccurrence import cooccurrence_agreement, pair_correlations, pairs

#: The first two columns are alike, the third their opposite, the fourth goes with neither.
LABELS = np.array([[1, 1, 0, 1], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0]], dtype=float)


def test_pairs_are_each_once_in_order() -> None:
    assert [(int(a), int(b)) for a, b in zip(*pairs(3), strict=True)] == [(0, 1), (0, 2), (1, 2)]


def test_correlations_of_labels_by_hand() -> None:
    assert pair_correlations(LABELS).tolist() == pytest.approx([1, -1, 0, -1, 0, 0])


def test_a_pair_is_of_the_scans_that_are_known_in_both_and_nan_where_one_does_not_vary() -> None:
    labels = np.array([[1, 1], [0, 0], [1, np.nan], [np.nan, 1], [0, 0]])
    assert pair_correlations(labels).tolist() == [1]
    assert np.isnan(pair_correlations([[1.0, 0], [1, 1]])).all()
    assert np.isnan(pair_correlations([[1.0, np.nan], [np.nan, 1]])).all()


def test_probabilities_stand_beside_labels() -> None:
    agreement = cooccurrence_agreement(0.1 + 0.8 * LABELS, LABELS)
    assert (agreement.probabilities, agreement.labels, agreement.pattern) == pytest.approx((0.5, 0.5, 1))
    constant = np.column_stack([LABELS[:, :3], np.ones(4)])
    agreement = cooccurrence_agreement(LABELS, constant)
    assert (agreement.probabilities, agreement.labels) == pytest.approx((1, 1)), "pairs with the constant label are left out of both"
    assert np.isnan(cooccurrence_agreement(LABELS[:, :1], LABELS[:, :1]).labels), "one label is no pair"

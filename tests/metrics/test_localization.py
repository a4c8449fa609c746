"""Localization scores by hand, and against scikit-learn over voxels."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from thoracle.metrics.localization import METRICS, localization_scores


def test_scores_by_hand() -> None:
    share = np.array([0.5, 0.0, 0.25, 0.0])  # of 4 voxels a patch: 2 and 1
    # The best map takes 1 voxel's worth of patches after 0.75 of one: all of it from the first, half of which is the finding.
    np.testing.assert_allclose(localization_scores(np.array([4.0, 1.0, 3.0, 2.0]), share)[:3], [1, 0.5, (0.5 * 0.5 + 0.25 * 0.375) / 0.75])
    np.testing.assert_allclose(localization_scores(np.array([1.0, 4.0, 2.0, 3.0]), share)[:2], [0, 0])
    # A map that says nothing: one patch of two is hit, and precision is what is there.
    np.testing.assert_allclose(localization_scores(np.zeros(4), share)[:3], [0.5, 0.75 / 4, 0.75 / 4])


def test_auprc_is_that_of_voxels() -> None:
    random = np.random.default_rng(0)
    counts, values = random.integers(0, 9, 30), random.integers(0, 6, 30).astype(float)  # of 8 voxels, with ties
    truth = np.concatenate([np.arange(8) < count for count in counts])
    wanted = average_precision_score(truth, np.repeat(values, 8))
    assert localization_scores(values, counts / 8)[METRICS.index("auprc")] == pytest.approx(wanted)


def test_slices_by_hand() -> None:
    fraction = np.zeros((4, 1, 2))
    fraction[1, 0, 0] = fraction[2, 0, 1] = 0.5
    strength = np.array([[[1.0, 1.0]], [[3.0, -9.0]], [[0.5, 0.0]], [[2.5, 0.0]]])  # 2, 3 (what is negative does not count), 0.5, 2.5
    # The second slice is the strongest and holds it. Of pairs with and without: 3 > 2, 3 > 2.5, 0.5 < 2, 0.5 < 2.5.
    np.testing.assert_allclose(localization_scores(strength, fraction)[3:], [1.0, 0.5])
    np.testing.assert_allclose(localization_scores(np.ones((4, 1, 2)), fraction)[3:], [0.5, 0.5])  # ties are half
    everywhere = localization_scores(strength, np.ones((4, 1, 2)))
    assert everywhere[3] == 1.0
    assert np.isnan(everywhere[4])


def test_scores_do_not_depend_on_the_order_of_places() -> None:
    """Slices, and patches within slices, in another order: ranks stay."""
    random = np.random.default_rng(2)
    heat, fraction = random.normal(size=(5, 4, 3)), np.maximum(random.random((5, 4, 3)) - 0.8, 0)
    slices, rows = random.permutation(5), random.permutation(4)
    np.testing.assert_allclose(localization_scores(heat[slices][:, rows], fraction[slices][:, rows]), localization_scores(heat, fraction))

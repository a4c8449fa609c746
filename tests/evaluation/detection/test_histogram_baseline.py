"""HU histograms: every voxel is counted once, and a linear model learns from them what they tell and nothing of places."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thoracle.evaluation.detection.histogram_baseline import EDGES, histogram, histogram_probabilities


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_counts_are_numpys(seed: int) -> None:
    hu = np.random.default_rng(seed).integers(-2000, 4000, (4, 5, 6)).astype(np.int16)
    counts = np.histogram(hu.clip(-1024, 3071), EDGES)[0]
    found = histogram(hu)
    np.testing.assert_allclose(np.expm1(found[: len(counts)]), counts, atol=1e-9)
    np.testing.assert_allclose(found[len(counts) :], counts / hu.size)


def test_a_density_is_learnt_and_a_place_is_not() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (200, 2))
    features = []
    for dense, left in labels:
        hu = rng.normal(-800, 20, (8, 8, 8)).astype(np.int16)
        hu[:2] = 40 if dense else -800  # how much there is of it
        hu[4, 4, 0 if left else 7] = 300  # where it is
        features.append(histogram(hu))
    given_ = np.array(features)
    found = histogram_probabilities(given_[:150], labels[:150].astype(float), given_[150:])
    assert found.shape == (50, 2)
    right = (found > 0.5) == labels[150:]
    assert right[:, 0].mean() == 1
    assert right[:, 1].mean() == pytest.approx(0.5, abs=0.2)

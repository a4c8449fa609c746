"""What the clusters of a tree explain: all of what they were made by, nothing of chance, and a share by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from thoracle.evaluation.latent_space.hierarchy import CUTS, explained, measure_hierarchy


def test_a_share_by_hand() -> None:
    """Values 0, 2 and 4, 6: 16 of 20 lie between two clusters of two; adjusted 1 - (4/20)(3/2)."""
    values = np.array([[0.0, 1.0], [2, 1], [4, 1], [6, 1]])
    share = explained(values, np.array([1, 1, 2, 2]), np.ones((1, 4)))
    assert share[0, 0] == pytest.approx(1 - 0.2 * 1.5)
    assert math.isnan(share[0, 1]), "what does not vary"
    weights = np.array([[1.0, 1, 1, 0], [0, 0, 1, 1]])
    drawn = explained(values[:, :1], np.array([1, 1, 2, 2]), weights)[:, 0]
    assert drawn[0] == pytest.approx(1 - (2 / 8) * (2 / 1)), "0, 2 and 4: 6 of 8 between"
    assert drawn[1] == pytest.approx(0), "one cluster is left, which explains nothing"
    copies = explained(values[:, :1], np.array([1, 1, 2, 2]), np.array([[2.0, 2, 2, 2]]))
    assert copies[0, 0] == pytest.approx(share[0, 0]), "a draw of each scan twice knows no more"
    unknown = explained(np.array([[0.0], [2], [4], [np.nan]]), np.array([1, 1, 2, 2]), np.ones((1, 4)))
    assert unknown[0, 0] == pytest.approx(drawn[0])


def test_clusters_by_number_explain_number_first_and_findings_later() -> None:
    """Two groups by number, each of two by which finding: the first cut knows the number, the second the findings too."""
    random = np.random.default_rng(0)
    centres = np.repeat(np.array([[1, 0, 0.1, 0], [1, 0, -0.1, 0], [-1, 0, 0, 0.1], [-1, 0, 0, -0.1]]), 30, axis=0)
    latents = centres + 0.005 * random.normal(size=centres.shape)
    truth = np.repeat(np.array([[1, 1, 1, 0], [0, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 1.0]]), 30, axis=0)
    patients = [f"p{n}" for n in range(120)]
    tree = measure_hierarchy(latents / np.linalg.norm(latents, axis=1, keepdims=True), truth_NK=truth, patients=patients, resamples=50)
    assert list(tree.number) == list(CUTS)
    assert tree.number[2].value == pytest.approx(1)
    assert tree.findings[2].value == pytest.approx(0.5, abs=0.01), "two of four findings"
    assert tree.findings[4].value == pytest.approx(1)


def test_intervals_lie_around_what_they_are_of() -> None:
    random = np.random.default_rng(3)
    latents = random.normal(size=(150, 8))
    truth = (latents[:, :5] + 1.5 * random.normal(size=(150, 5)) > 0).astype(float)
    tree = measure_hierarchy(latents, truth_NK=truth, patients=[f"p{n}" for n in range(150)], resamples=200)
    for values in (tree.number, tree.findings):
        assert all(values[count].low < values[count].value < values[count].high for count in CUTS)


def test_chance_explains_nothing() -> None:
    random = np.random.default_rng(0)
    latents = random.normal(size=(400, 8))
    truth = random.integers(2, size=(400, 6)).astype(float)
    tree = measure_hierarchy(latents, truth_NK=truth, patients=[f"p{n}" for n in range(400)], resamples=50)
    assert all(abs(tree.number[count].value) < 0.03 for count in CUTS)
    assert all(abs(tree.findings[count].value) < 0.02 for count in CUTS)

"""The published ways of scoring retrieval, with what is odd about them."""

from __future__ import annotations

import numpy as np
import pytest

from thoracle.evaluation.retrieval.published import published_keyword, published_report_to_volume, published_volume_to_volume
from thoracle.metrics.retrieval import label_overlap


def test_the_published_way_finds_the_query_itself_and_averages_smaller_ks() -> None:
    random = np.random.default_rng(1)
    latents, labels = random.standard_normal((40, 8)), (random.random((40, 18)) < 0.2).astype(int)
    latents /= np.linalg.norm(latents, axis=1, keepdims=True)
    labels[3] = 0
    found = published_volume_to_volume(latents, labels, ks=(1, 5))
    having = labels.any(axis=1)
    assert found["running mean overlap@1"] == pytest.approx(having.mean()), "each with a label finds itself first"
    overlap = label_overlap(labels, labels[having])
    order = np.argsort(-(latents @ latents[having].T), axis=1)
    at_5 = np.take_along_axis(overlap, order, axis=1)[:, :5].mean()
    assert found["running mean overlap@5"] == pytest.approx((found["running mean overlap@1"] + at_5) / 2)


def test_published_recall_is_of_the_own_row() -> None:
    scores = np.array([[3.0, 2, 1], [3, 2, 1], [1, 1, 1]])
    assert published_report_to_volume(scores, ks=(1, 2, 3)) == {"R@1": pytest.approx(1 / 3), "R@2": pytest.approx(2 / 3), "R@3": 1.0}


def test_the_published_judge_of_keywords_counts_reports_that_hold_them() -> None:
    scores = np.array([[3.0, 2, 1], [1, 2, 3]])
    held = np.array([[True, False, True], [False, False, False]])
    assert published_keyword(scores, held, ks=(1, 2)) == {"precision@1": 1.0, "precision@2": 0.5}
    assert published_keyword(scores, ~held & held, ks=(1,)) == {}

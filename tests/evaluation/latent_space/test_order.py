"""Order that was put into latents is found again, none where there is none, and by hand on a few scans."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from thoracle.evaluation.latent_space.order import measure_order

PATIENTS = [f"p{n}" for n in range(120)]


def _scans(order: float, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """120 scans with up to eight findings, whose number moves latents along one axis by `order`."""
    random = np.random.default_rng(seed)
    truth = (random.random((120, 8)) < random.random((120, 1))).astype(float)
    latents = random.normal(size=(120, 16)) * 0.3
    latents[:, 0] += order * (truth.sum(axis=1) - 4)
    return latents / np.linalg.norm(latents, axis=1, keepdims=True), truth


def _labels(truth: np.ndarray) -> list[str]:
    return [f"f{k}" for k in range(truth.shape[1])]


def test_an_order_by_number_is_found_along_the_axis_and_among_neighbours() -> None:
    latents, truth = _scans(0.5)
    order = measure_order(latents, truth_NK=truth, labels=_labels(truth), patients=PATIENTS, resamples=100)
    assert order.axis.low > 0.7
    assert order.neighbours.low > 0.7
    assert order.severity is None


def test_where_there_is_none_the_interval_of_neighbours_holds_zero() -> None:
    latents, truth = _scans(0.0)
    order = measure_order(latents, truth_NK=truth, labels=_labels(truth), patients=PATIENTS, resamples=200)
    assert order.neighbours.low < 0 < order.neighbours.high
    assert 0 <= order.axis.value < 0.3, "an axis has no sign: its correlation is taken positive"


def test_neighbours_are_of_other_patients() -> None:
    """Three patients of two alike scans: each scan's own twin does not count, and the other four do."""
    angles = np.deg2rad([0, 1, 20, 21, 90, 91])
    latents = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    truth = np.array([[1, 1], [1, 1], [0, 1], [0, 1], [0, 0], [0, 0.0]])
    order = measure_order(latents, truth_NK=truth, labels=["a", "b"], patients=list("aabbcc"), resamples=5)
    means = [np.mean([1, 1, 0, 0])] * 2 + [np.mean([2, 2, 0, 0])] * 2 + [np.mean([2, 2, 1, 1])] * 2
    assert order.neighbours.value == pytest.approx(spearmanr([2, 2, 1, 1, 0, 0], means).statistic)


def test_scans_of_which_no_label_is_known_have_no_number() -> None:
    """As reports that no labeller could read, and whole cohorts without labels; they were as scans without findings."""
    latents, truth = _scans(0.5)
    truth[::3] = np.nan
    rest = np.flatnonzero(~np.isnan(truth).all(axis=1))
    order = measure_order(latents, truth_NK=truth, labels=_labels(truth), patients=PATIENTS, resamples=5)
    number, centred = truth[rest].sum(axis=1), latents - latents.mean(axis=0)
    axis = (centred @ np.linalg.svd(centred)[2][0])[rest]
    assert order.axis.value == pytest.approx(abs(spearmanr(axis, number).statistic))
    cosines = latents[rest] @ latents[rest].T - 2 * np.eye(len(rest))
    near = number[np.argsort(-cosines, axis=1)[:, :10]].mean(axis=1)
    assert order.neighbours.value == pytest.approx(spearmanr(near, number).statistic)
    nothing = measure_order(latents, truth_NK=np.full_like(truth, np.nan), labels=_labels(truth), patients=PATIENTS, resamples=5)
    assert math.isnan(nothing.axis.value)
    assert math.isnan(nothing.neighbours.value)


def test_unknown_labels_count_as_none_found() -> None:
    latents, truth = _scans(0.5)
    truth[:, 7] = np.nan
    known = measure_order(latents, truth_NK=truth[:, :7], labels=_labels(truth)[:7], patients=PATIENTS, resamples=5)
    order = measure_order(latents, truth_NK=truth, labels=_labels(truth), patients=PATIENTS, resamples=5)
    assert (order.axis, order.neighbours) == (known.axis, known.neighbours)


def test_severity_is_correlated_within_a_finding_and_its_areas_rise() -> None:
    random = np.random.default_rng(1)
    latents, truth = _scans(0.2)
    grades = np.where(truth == 1, random.integers(1, 4, truth.shape), np.nan)
    grades[:, 5] = np.where(truth[:, 5] == 1, 2, np.nan)  # one grade is no order
    grades[:, 6] = np.nan  # nobody says
    margins = 0.3 * np.nan_to_num(grades) + random.normal(size=truth.shape)
    margins[:, 4] = -margins[:, 4]
    order = measure_order(
        latents, truth_NK=truth, labels=_labels(truth), patients=PATIENTS, margins_NK=margins, grades_NK=grades, resamples=50
    )
    assert order.severity is not None
    rows = truth[:, 0] == 1
    assert order.severity.by_finding["f0"].value == pytest.approx(spearmanr(grades[rows, 0], margins[rows, 0]).statistic)
    assert order.severity.by_finding["f4"].value < 0
    assert [math.isnan(order.severity.by_finding[name].value) for name in ("f5", "f6")] == [True, True]
    kept = [order.severity.by_finding[f"f{k}"].value for k in (0, 1, 2, 3, 4, 7)]
    assert order.severity.mean.value == pytest.approx(np.mean(kept))
    mild, moderate, severe = (order.severity.auroc[name].value for name in ("mild", "moderate", "severe"))
    assert mild < moderate < severe
    negatives, positives = margins[truth[:, 7] == 0, 7], margins[grades[:, 7] == 3, 7]
    alone = measure_order(
        latents, truth_NK=truth[:, 7:], labels=["x"], patients=PATIENTS, margins_NK=margins[:, 7:], grades_NK=grades[:, 7:], resamples=5
    )
    assert alone.severity is not None
    assert alone.severity.auroc["severe"].value == pytest.approx((positives[:, None] > negatives).mean())

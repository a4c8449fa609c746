"""Metrics of scored scans, by hand; labels with one answer are NaN and no part of a mean; intervals are over patients."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from thoracle.errors import InputError
from thoracle.evaluation.detection.summary import DECISION, POOLED, PROBABILITY, RANKING, Scores, draw, mean_of_known, measure, summarise

#: Of label x 3 of 4 pairs are in order; all scans that are labelled have y.
SCORES = Scores(
    names=("a", "b", "c", "d"),
    patients=("p", "q", "r", "s"),
    labels=("x", "y"),
    probabilities_NK=np.array([[0.9, 0.5], [0.3, 0.5], [0.4, 0.5], [0.1, 0.5]]),
    truth_NK=np.array([[1.0, 1], [1, 1], [0, 1], [0, np.nan]]),
)


def test_metrics_by_hand() -> None:
    values = measure(SCORES, thresholds=np.array([0.35, 0.5]))
    assert values["auroc"][0] == 0.75
    assert math.isnan(values["auroc"][1])
    assert values["macro_auroc"] == 0.75, "the mean over labels with both answers"
    assert values["brier"][0] == pytest.approx((0.1**2 + 0.7**2 + 0.4**2 + 0.1**2) / 4)
    assert values["brier"][1] == pytest.approx(0.25), "of the three that are labelled"
    assert values["macro_brier"] == pytest.approx((values["brier"][0] + 0.25) / 2)
    counted = {"precision": 1 / 2, "recall": 1 / 2, "specificity": 1 / 2, "f1": 1 / 2, "accuracy": 1 / 2}  # hits a, alarm c, miss b, d
    assert {name: values[name][0] for name in counted} == counted
    assert values["accuracy"][1] == 1
    assert values["f1_micro"] == pytest.approx(2 * 4 / (2 * 4 + 1 + 1)), "hits a, and a, b, c of y; one alarm, one miss"


def test_what_was_not_asked_for_is_not_there() -> None:
    assert set(measure(SCORES, thresholds=None)) == {name for m in (*RANKING, *PROBABILITY) for name in (m, f"macro_{m}")}
    assert set(measure(SCORES, thresholds=None, ranking=False)) == {name for m in PROBABILITY for name in (m, f"macro_{m}")}
    decided = set(measure(SCORES, thresholds=np.array([0.5, 0.5]), ranking=False))
    assert {*DECISION, *POOLED} < decided
    assert not decided & {f"macro_{name}" for name in POOLED}, "they are of all labels already"


def test_a_summary_has_each_label_and_all_together_and_no_interval_of_the_calibration_error() -> None:
    summary = summarise(SCORES, thresholds=None, resamples=20)
    assert list(summary.by_label) == ["x", "y"]
    auroc, error = summary.by_label["x"]["auroc"], summary.by_label["x"]["calibration_error"]
    assert auroc.low <= auroc.value == 0.75 <= auroc.high
    assert error.value == pytest.approx((0.1 + 0.7 + 0.4 + 0.1) / 4), "each of four bins has one scan"
    assert math.isnan(error.low)
    assert math.isnan(summary.average["macro_calibration_error"].high)
    assert math.isnan(summary.by_label["y"]["auroc"].value)
    assert set(summary.average) == {f"macro_{name}" for name in (*RANKING, *PROBABILITY)}


def test_draws_are_of_patients_and_repeat_with_their_seed(scores: Callable[..., Scores]) -> None:
    cases = scores(patients=30)
    alike = Scores(
        names=cases.names,
        patients=("one",) * len(cases.names),
        labels=cases.labels,
        probabilities_NK=cases.probabilities_NK,
        truth_NK=cases.truth_NK,
    )
    interval = summarise(alike, thresholds=None, resamples=10).by_label[cases.labels[0]]["auroc"]
    assert interval.low == interval.value == interval.high, "a draw of one patient is always all of her scans"
    first, again, another = (draw(cases, thresholds=None, resamples=10, seed=seed)["brier"] for seed in (1, 1, 2))
    assert first.shape == (10, 3)
    np.testing.assert_array_equal(first, again)
    assert (first != another).any()


def test_rows_are_taken_together_and_one_answer_is_named() -> None:
    part = SCORES.of(np.array([True, False, False, True]))
    assert (part.names, part.patients) == (("a", "d"), ("p", "s"))
    np.testing.assert_array_equal(part.probabilities_NK, [[0.9, 0.5], [0.1, 0.5]])
    np.testing.assert_array_equal(part.truth_NK, [[1, 1], [0, np.nan]])
    assert SCORES.single_class_labels == ("y",)
    assert SCORES.of(np.zeros(4, dtype=bool)).single_class_labels == ("x", "y")


def test_no_scan_gives_no_interval() -> None:
    with pytest.raises(InputError, match="0 scans"):
        summarise(SCORES.of(np.zeros(4, dtype=bool)), thresholds=None)


def test_a_mean_is_of_what_is_known() -> None:
    np.testing.assert_array_equal(mean_of_known(np.array([[1.0, np.nan, 3], [np.nan, np.nan, np.nan]])), [2, np.nan])

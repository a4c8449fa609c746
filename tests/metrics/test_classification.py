from __future__ import annotations

import warnings
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from thoracle.errors import InputError
from thoracle.metrics import classification

SCORES = np.array([[0.1], [0.4], [0.35], [0.8]])
LABELS = np.array([[0.0], [0.0], [1.0], [1.0]])


def test_values_computed_by_hand() -> None:
    # Pairs (positive, negative) in order: 0.35 > 0.1, 0.8 > 0.1, 0.8 > 0.4; not 0.35 > 0.4.
    assert classification.auroc(SCORES, LABELS) == pytest.approx([3 / 4])
    # Positives come first and third: precision 1/1 and 2/3.
    assert classification.average_precision(SCORES, LABELS) == pytest.approx([(1 + 2 / 3) / 2])
    # No false alarm allowed: only 0.8 lies above every negative. One of two allowed: both positives do.
    assert classification.sensitivity_at_specificity(SCORES, LABELS, specificity=0.9) == pytest.approx([1 / 2])
    assert classification.sensitivity_at_specificity(SCORES, LABELS, specificity=0.5) == pytest.approx([1.0])
    assert classification.brier(SCORES, LABELS) == pytest.approx([(0.1**2 + 0.4**2 + 0.65**2 + 0.2**2) / 4])
    # Two bins: {0.1, 0.4, 0.35} with mean distance -0.15/3, {0.8} with -0.2.
    assert classification.calibration_error(SCORES, LABELS, bins=2) == pytest.approx([(0.15 + 0.2) / 4])


def test_counts_by_hand() -> None:
    counts = classification.confusion(SCORES, LABELS, thresholds=[0.35])
    assert [counts.true_positives, counts.false_positives, counts.true_negatives, counts.false_negatives] == [2, 1, 1, 0]
    assert [counts.accuracy, counts.precision, counts.recall, counts.specificity, counts.f1] == [3 / 4, 2 / 3, 1, 1 / 2, 4 / 5]
    # "present" 4/5, "absent" 2/3, as often each.
    assert counts.f1_of_both_answers == pytest.approx([(4 / 5 + 2 / 3) / 2])


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(2, 12))
def test_everything_is_as_scikit_learn_says(seed: int, scans: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    scores, labels = random.integers(levels, size=(scans, 3)) / levels, random.integers(2, size=(scans, 3)).astype(float)
    thresholds = random.random(3)
    counts = classification.confusion(scores, labels, thresholds=thresholds)
    said = scores >= thresholds
    mine: dict[str, Any] = {
        "auroc": classification.auroc(scores, labels),
        "ap": classification.average_precision(scores, labels),
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
        "accuracy": counts.accuracy,
        "brier": classification.brier(scores, labels),
        "both": counts.f1_of_both_answers,
    }
    for k in range(3):
        y, s, p = labels[:, k], scores[:, k], said[:, k]
        assert mine["accuracy"][k] == pytest.approx(sk.accuracy_score(y, p))
        assert mine["brier"][k] == pytest.approx(sk.brier_score_loss(y, s, pos_label=1))
        if len(set(y)) < 2:
            assert all(np.isnan(mine[name][k]) for name in ("auroc", "ap", "precision", "recall", "f1", "both"))
            continue
        assert mine["auroc"][k] == pytest.approx(sk.roc_auc_score(y, s))
        assert mine["ap"][k] == pytest.approx(sk.average_precision_score(y, s))
        assert mine["precision"][k] == pytest.approx(sk.precision_score(y, p, zero_division=0))
        assert mine["recall"][k] == pytest.approx(sk.recall_score(y, p))
        assert mine["f1"][k] == pytest.approx(sk.f1_score(y, p))
        assert mine["both"][k] == pytest.approx(sk.f1_score(y, p, average="weighted"))
    if all(len(set(y)) == 2 for y in labels.T):
        for average, value in (("macro", counts.f1.mean()), ("micro", counts.f1_micro), ("weighted", counts.f1_weighted)):
            assert value == pytest.approx(sk.f1_score(labels, said, average=average, zero_division=0)), average


@given(st.integers(0, 10_000), st.integers(2, 30))
def test_a_weight_is_that_many_copies_of_a_scan(seed: int, scans: int) -> None:
    random = np.random.default_rng(seed)
    scores, labels = random.integers(6, size=(scans, 2)) / 6, random.integers(2, size=(scans, 2)).astype(float)
    labels[random.random(labels.shape) < 0.1] = np.nan
    weights = random.integers(3, size=(4, scans))
    for measure in (
        classification.auroc,
        classification.average_precision,
        classification.sensitivity_at_specificity,
        classification.brier,
        classification.calibration_error,
        _f1,
    ):
        weighted = measure(scores, labels, weights_RN=weights)
        for row, copies in zip(weighted, weights, strict=True):
            if copies.any():
                repeated = np.repeat(np.arange(scans), copies)
                np.testing.assert_allclose(row, measure(scores[repeated], labels[repeated]))


@given(st.integers(0, 10_000))
def test_a_label_that_nobody_gave_is_as_if_the_scan_were_not_there(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, labels = random.random((20, 2)), random.integers(2, size=(20, 2)).astype(float)
    labels[:5, 0] = np.nan
    for measure in (classification.auroc, classification.average_precision, classification.brier, classification.calibration_error, _f1):
        np.testing.assert_allclose(measure(scores, labels)[0], measure(scores[5:, :1], labels[5:, :1])[0])
        np.testing.assert_allclose(measure(scores, labels)[1], measure(scores[:, 1:], labels[:, 1:])[0])


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=20))
def test_auroc_is_the_fraction_of_pairs_in_order(scored: list[tuple[int, bool]]) -> None:
    positive = [score for score, label in scored if label]
    negative = [score for score, label in scored if not label]
    (area,) = classification.auroc([[score] for score, _ in scored], [[float(label)] for _, label in scored])
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p, n in product(positive, negative)]
    assert area == pytest.approx(sum(pairs) / len(pairs) if pairs else np.nan, nan_ok=True)


def test_f1_of_counts_of_any_shape() -> None:
    assert classification.f1_score(3, 1, 2) == pytest.approx(6 / 9)
    scores = classification.f1_score([[1, 0], [0, 2]], [[0, 0], [1, 0]], [[1, 0], [0, 0]])
    np.testing.assert_allclose(scores, [[2 / 3, np.nan], [0, 1]])


def test_sensitivity_is_on_the_roc_of_scikit_learn() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(2, size=200).astype(float)
    scores = random.random(200) + labels * 0.4
    fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    for specificity in (0.0, 0.5, 0.8, 0.9, 0.95, 1.0):
        got = classification.sensitivity_at_specificity(scores[:, None], labels[:, None], specificity=specificity)
        assert got == pytest.approx([tpr[fpr <= 1 - specificity + 1e-12].max()])


def test_a_bin_holds_its_upper_edge() -> None:
    assert classification.bin_of(np.array([0.0, 0.1, 0.5, 0.50001, 1.0]), 2).tolist() == [0, 0, 0, 1, 1]


def test_nothing_but_unknown_labels_is_nan_without_a_warning() -> None:
    scores, labels = np.full((3, 1), 0.5), np.full((3, 1), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for measure in (
            classification.auroc,
            classification.average_precision,
            classification.brier,
            classification.calibration_error,
            _f1,
        ):
            assert np.isnan(measure(scores, labels)).all()


@pytest.mark.parametrize(
    ("scores", "labels", "said"),
    [
        ([[0.1], [np.nan], [np.inf]], [[0], [1], [1]], "scores that are no numbers in rows 1, 2"),
        ([[0.1], [0.2]], [[0], [2]], "labels that are not 0, 1 or NaN in rows 1"),
        ([[0.1, 0.2]], [[0]], r"scores are of shape \(1, 2\), labels of \(1, 1\)"),
        ([0.1], [0], r"shape \(1,\)"),
    ],
)
def test_bad_arrays_are_refused_by_row(scores: Any, labels: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        classification.auroc(scores, labels)


def test_logits_are_no_probabilities() -> None:
    with pytest.raises(InputError, match="probabilities outside 0 to 1 in rows 0, 2"):
        classification.brier([[-0.1], [0.5], [1.5]], [[0], [1], [1]])


def _f1(scores: Any, labels: Any, *, weights_RN: Any = None) -> Any:
    return classification.confusion(scores, labels, thresholds=0.5, weights_RN=weights_RN).f1

"""Compute metrics of multi-label classification, weighted so that bootstrap draws cost one pass.

Shapes: N scans, K labels, R rows of weights, G distinct scores. Every metric takes scores (N, K) and labels (N, K) of 1, 0 and NaN
(unknown); a NaN label is left out of its own column and of no other. `weights_RN` says how often each scan counts: a bootstrap draw is a
row of it. With weights metrics are (R, K), without (K,).

A column that lacks positives or negatives is NaN in all metrics but accuracy, Brier score and calibration error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thoracle.errors import InputError
from thoracle.types import FloatArray

#: Equal bins of probability in `calibration_error`; Guo et al. (arXiv:1706.04599) take 15.
BINS: Final = 15


def auroc(scores_NK: ArrayLike, labels_NK: ArrayLike, *, weights_RN: ArrayLike | None = None) -> FloatArray:
    """Compute the area under the ROC curve: the fraction of pairs of a positive and a negative in order, ties counting half."""
    return _measure_columns(_area_under_roc, scores_NK, labels_NK, weights_RN)


def average_precision(scores_NK: ArrayLike, labels_NK: ArrayLike, *, weights_RN: ArrayLike | None = None) -> FloatArray:
    """Average the precision at each positive: the step-wise area under precision and recall, without interpolation."""
    return _measure_columns(_average_precision, scores_NK, labels_NK, weights_RN)


def sensitivity_at_specificity(
    scores_NK: ArrayLike, labels_NK: ArrayLike, *, specificity: float = 0.9, weights_RN: ArrayLike | None = None
) -> FloatArray:
    """Find the highest sensitivity at a threshold, among the scores, whose specificity is at least this.

    Raises:
        InputError: a specificity outside 0 to 1.
    """
    if not 0 <= specificity <= 1:
        raise InputError(f"specificity must be in 0 to 1, is {specificity}", hint="Give for example 0.9.")

    def measure(curve: Curve) -> FloatArray:
        allowed = (1 - specificity) * curve.false_positives_RG[:, -1:] * (1 + 1e-12)
        best: FloatArray = np.where(curve.false_positives_RG <= allowed, curve.true_positives_RG, 0).max(axis=1)
        return best / curve.true_positives_RG[:, -1]

    return _measure_columns(measure, scores_NK, labels_NK, weights_RN)


@dataclass(frozen=True, kw_only=True, eq=False)
class Confusion:
    """Hold confusion counts, each (R, K) or (K,); a score at its threshold or above is a positive prediction."""

    true_positives: FloatArray
    false_positives: FloatArray
    true_negatives: FloatArray
    false_negatives: FloatArray

    @property
    def accuracy(self) -> FloatArray:
        """Return the fraction of predictions that are correct."""
        correct, errors = self.true_positives + self.true_negatives, self.false_positives + self.false_negatives
        return _ratio(correct, correct + errors)

    @property
    def precision(self) -> FloatArray:
        """Return the fraction of positive predictions that are correct; 0 without a positive prediction."""
        predicted = self.true_positives + self.false_positives
        return self._discriminated(np.where(predicted > 0, _ratio(self.true_positives, predicted), 0.0))

    @property
    def recall(self) -> FloatArray:
        """Return the fraction of positives that are predicted; sensitivity."""
        return self._discriminated(_ratio(self.true_positives, self.true_positives + self.false_negatives))

    @property
    def specificity(self) -> FloatArray:
        """Return the fraction of negatives that are predicted."""
        return self._discriminated(_ratio(self.true_negatives, self.true_negatives + self.false_positives))

    @property
    def f1(self) -> FloatArray:
        """Return the F1 of the positive class; its mean over labels is macro F1."""
        return self._discriminated(f1_score(self.true_positives, self.false_positives, self.false_negatives))

    @property
    def f1_micro(self) -> FloatArray:
        """Return the F1 of all labels' counts together, (R,) or ()."""
        return f1_score(*(counts.sum(axis=-1) for counts in (self.true_positives, self.false_positives, self.false_negatives)))

    @property
    def f1_weighted(self) -> FloatArray:
        """Return the mean F1 of labels weighted by their positives, (R,) or (). CT-CLIP's "weighted F1" is `f1_of_both_answers`."""
        support = np.where(np.isnan(self.f1), 0.0, self.true_positives + self.false_negatives)
        return _ratio((np.nan_to_num(self.f1) * support).sum(axis=-1), support.sum(axis=-1))

    @property
    def f1_of_both_answers(self) -> FloatArray:
        """Return the mean F1 of the positive and the negative class weighted by their frequency: CT-CLIP's "weighted F1", high for rare
        findings.
        """
        positives, negatives = self.true_positives + self.false_negatives, self.true_negatives + self.false_positives
        present = f1_score(self.true_positives, self.false_positives, self.false_negatives)
        absent = f1_score(self.true_negatives, self.false_negatives, self.false_positives)
        return self._discriminated(_ratio(present * positives + absent * negatives, positives + negatives))

    def _discriminated(self, values: FloatArray) -> FloatArray:
        """Set labels that lack positives or negatives to NaN."""
        both = (self.true_positives + self.false_negatives > 0) & (self.true_negatives + self.false_positives > 0)
        return np.where(both, values, np.nan)


def confusion(scores_NK: ArrayLike, labels_NK: ArrayLike, *, thresholds: ArrayLike, weights_RN: ArrayLike | None = None) -> Confusion:
    """Count predictions at thresholds; from the counts come accuracy, precision, recall, specificity and F1.

    Args:
        scores_NK, labels_NK, weights_RN: as the module says.
        thresholds: one a label (K,), or one a scan and label (N, K); a cell without one, NaN, is not counted.
    """
    scores, labels, weights = _checked(scores_NK, labels_NK, weights_RN)
    cutoffs = np.asarray(thresholds, dtype=np.float64)
    predicted, counted = scores >= cutoffs, ~np.isnan(labels) & ~np.isnan(cutoffs)
    positive = labels == 1
    cells = ((True, True), (True, False), (False, False), (False, True))  # predicted, positive
    counts = [weights @ (counted & (predicted == prediction) & (positive == label)) for prediction, label in cells]
    names = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    return Confusion(**{name: _shaped(count, weights_RN) for name, count in zip(names, counts, strict=True)})


def f1_score(true_positives: ArrayLike, false_positives: ArrayLike, false_negatives: ArrayLike) -> FloatArray:
    """Compute F1, the harmonic mean of precision and recall, of counts of any one shape; NaN where all three are 0."""
    hits = 2 * np.asarray(true_positives, dtype=np.float64)
    return _ratio(hits, hits + np.asarray(false_positives) + np.asarray(false_negatives))


def brier(probabilities_NK: ArrayLike, labels_NK: ArrayLike, *, weights_RN: ArrayLike | None = None) -> FloatArray:
    """Compute the Brier score: the mean squared distance of probability and label."""
    probabilities, labels, weights = _checked(probabilities_NK, labels_NK, weights_RN, probabilities=True)
    return _shaped(_ratio(weights @ np.nan_to_num((probabilities - labels) ** 2), weights @ ~np.isnan(labels)), weights_RN)


def calibration_error(
    probabilities_NK: ArrayLike, labels_NK: ArrayLike, *, bins: int = BINS, weights_RN: ArrayLike | None = None
) -> FloatArray:
    """Compute the expected calibration error over equal bins: |mean probability - fraction positive|, weighted by bin counts."""
    probabilities, labels, weights = _checked(probabilities_NK, labels_NK, weights_RN, probabilities=True)
    distance, indices = np.nan_to_num(probabilities - labels), bin_of(probabilities, bins)
    gaps = sum(np.abs(weights @ np.where(indices == index, distance, 0.0)) for index in range(bins))
    return _shaped(_ratio(gaps, weights @ ~np.isnan(labels)), weights_RN)


def bin_of(probabilities: FloatArray, bins: int) -> NDArray[np.int64]:
    """Find the bin of each probability among ((0, 1/bins], (1/bins, 2/bins], …); 0 is in the first."""
    return np.clip(np.ceil(probabilities * bins).astype(np.int64) - 1, 0, bins - 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Hold true and false positives of one label at each threshold, highest first.

    Attributes:
        thresholds_G: the distinct scores.
        true_positives_RG: positives with this score or a higher one.
        false_positives_RG: negatives with this score or a higher one; the last column of both counts all.
    """

    thresholds_G: FloatArray
    true_positives_RG: FloatArray
    false_positives_RG: FloatArray


def curve(scores_N: ArrayLike, labels_N: ArrayLike, *, weights_RN: ArrayLike | None = None) -> Curve:
    """Count positives and negatives above each score of one label, as ranking metrics, ROC and precision-recall curves need."""
    scores, labels, weights = _checked(np.reshape(scores_N, (-1, 1)), np.reshape(labels_N, (-1, 1)), weights_RN)
    return next(_curves(scores, labels, weights))


def _curves(scores_NK: FloatArray, labels_NK: FloatArray, weights_RN: FloatArray) -> Iterator[Curve]:
    for scores_N, labels_N in zip(scores_NK.T, labels_NK.T, strict=True):
        order = np.argsort(-scores_N, kind="stable")
        order = order[~np.isnan(labels_N[order])]
        sorted_scores = scores_N[order]
        last = np.flatnonzero(np.append(sorted_scores[1:] != sorted_scores[:-1], True)[: len(sorted_scores)])  # of each group of ties
        counts = weights_RN[:, order]
        positive = np.cumsum(counts * (labels_N[order] == 1), axis=1)
        every = np.cumsum(counts, axis=1)
        if len(last) < len(order):
            positive, every = positive[:, last], every[:, last]
        yield Curve(thresholds_G=sorted_scores[last], true_positives_RG=positive, false_positives_RG=every - positive)


def _area_under_roc(curve: Curve) -> FloatArray:
    up, right = curve.true_positives_RG, curve.false_positives_RG
    below: FloatArray = np.einsum("rg,rg->r", _steps(right), up) - np.einsum("rg,rg->r", _steps(right), _steps(up)) / 2
    return below / (up[:, -1] * right[:, -1])


def _average_precision(curve: Curve) -> FloatArray:
    hits = curve.true_positives_RG
    precision = hits / np.maximum(hits + curve.false_positives_RG, np.finfo(np.float64).tiny)
    summed: FloatArray = np.einsum("rg,rg->r", _steps(hits), precision)
    return summed / hits[:, -1]


def _steps(values_RG: FloatArray) -> FloatArray:
    return np.diff(values_RG, axis=1, prepend=0.0)


def _measure_columns(
    measure: Callable[[Curve], FloatArray], scores_NK: ArrayLike, labels_NK: ArrayLike, weights_RN: ArrayLike | None
) -> FloatArray:
    scores, labels, weights = _checked(scores_NK, labels_NK, weights_RN)
    values = np.full((len(weights), scores.shape[1]), np.nan)
    for column, label_curve in enumerate(_curves(scores, labels, weights)):
        if label_curve.thresholds_G.size:
            both = (label_curve.true_positives_RG[:, -1] > 0) & (label_curve.false_positives_RG[:, -1] > 0)
            with np.errstate(invalid="ignore", divide="ignore"):
                values[:, column] = np.where(both, measure(label_curve), np.nan)
    return _shaped(values, weights_RN)


def _checked(
    scores_NK: ArrayLike, labels_NK: ArrayLike, weights_RN: ArrayLike | None, *, probabilities: bool = False
) -> tuple[FloatArray, FloatArray, FloatArray]:
    scores, labels = np.asarray(scores_NK, dtype=np.float64), np.asarray(labels_NK, dtype=np.float64)
    if scores.ndim != 2 or scores.shape != labels.shape:
        raise InputError(f"scores are of shape {scores.shape}, labels of {labels.shape}", hint="Give both as (scans, labels).")
    _refuse(~np.isfinite(scores), "scores that are no numbers", "Leave these scans out, or score them again.")
    _refuse(~(np.isnan(labels) | (labels == 0) | (labels == 1)), "labels that are not 0, 1 or NaN", "Correct the labels.")
    if probabilities:
        _refuse((scores < 0) | (scores > 1), "probabilities outside 0 to 1", "Give probabilities, not logits.")
    weights = np.ones((1, len(scores))) if weights_RN is None else np.asarray(weights_RN, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != len(scores):
        raise InputError(f"weights are of shape {weights.shape} for {len(scores)} scans", hint="Give them as (draws, scans).")
    return scores, labels, weights


def _refuse(invalid_NK: NDArray[np.bool_], fault: str, hint: str) -> None:
    if invalid_NK.any():
        rows = np.flatnonzero(invalid_NK.any(axis=1))
        listing = ", ".join(map(str, rows[:10])) + (f" and {len(rows) - 10:,} more" if len(rows) > 10 else "")
        raise InputError(f"{fault} in rows {listing}", hint=hint)


def _ratio(numerator: Any, denominator: Any) -> FloatArray:
    """Divide; NaN where the denominator is not positive."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.asarray(denominator) > 0, np.asarray(numerator, dtype=np.float64) / denominator, np.nan)


def _shaped(values_RK: FloatArray, weights_RN: ArrayLike | None) -> FloatArray:
    return values_RK[0] if weights_RN is None else values_RK

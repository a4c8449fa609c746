"""Metrics of detection as pure functions over arrays; knows no file, no model and no label's name.

Shapes: N scans, K labels, R rows of weights. Every metric takes scores (N, K) and labels (N, K) of 1, 0 and NaN, where nobody says; a NaN
label is left out of its own column and of no other. `weights_RN` says how often each scan counts: a bootstrap draw is a row of it. With
weights the answer is (R, K), without (K,).

A column without both answers cannot be discriminated in: it is NaN in all metrics but accuracy, Brier score and calibration error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thoracle.errors import InputError

Array = NDArray[np.float64]
#: Equal bins of probability in `calibration_error`; Guo et al. (arXiv:1706.04599) take 15.
BINS: Final = 15


def auroc(scores_NK: ArrayLike, labels_NK: ArrayLike, *, weights_RN: ArrayLike | None = None) -> Array:
    """The share of pairs of a positive and a negative that are in order, ties counting half."""
    return _ranked(_area_under_roc, scores_NK, labels_NK, weights_RN)


def average_precision(scores_NK: ArrayLike, labels_NK: ArrayLike, *, weights_RN: ArrayLike | None = None) -> Array:
    """Precision at each positive, averaged: the step-wise area under precision and recall, without interpolation."""
    return _ranked(_average_precision, scores_NK, labels_NK, weights_RN)


def sensitivity_at_specificity(
    scores_NK: ArrayLike, labels_NK: ArrayLike, *, specificity: float = 0.9, weights_RN: ArrayLike | None = None
) -> Array:
    """The highest sensitivity at a threshold, among the scores, whose specificity is at least this.

    Raises:
        InputError: a specificity outside 0 to 1.
    """
    if not 0 <= specificity <= 1:
        raise InputError(f"specificity must be in 0 to 1, is {specificity}", cure="Give for example 0.9.")

    def measure(curve: Curve) -> Array:
        allowed = (1 - specificity) * curve.false_positives_RG[:, -1:] * (1 + 1e-12)
        best: Array = np.where(curve.false_positives_RG <= allowed, curve.true_positives_RG, 0).max(axis=1)
        return best / curve.true_positives_RG[:, -1]

    return _ranked(measure, scores_NK, labels_NK, weights_RN)


@dataclass(frozen=True, kw_only=True, eq=False)
class Confusion:
    """Scans counted by what was said and what is so, each (R, K) or (K,); a score at its threshold or above says present."""

    true_positives: Array
    false_positives: Array
    true_negatives: Array
    false_negatives: Array

    @property
    def accuracy(self) -> Array:
        """Share of all that is right."""
        right, wrong = self.true_positives + self.true_negatives, self.false_positives + self.false_negatives
        return _ratio(right, right + wrong)

    @property
    def precision(self) -> Array:
        """Share of what was said to be present that is; 0 where nothing was said to be."""
        said = self.true_positives + self.false_positives
        return self._known(np.where(said > 0, _ratio(self.true_positives, said), 0.0))

    @property
    def recall(self) -> Array:
        """Share of what is present that was said to be; sensitivity."""
        return self._known(_ratio(self.true_positives, self.true_positives + self.false_negatives))

    @property
    def specificity(self) -> Array:
        """Share of what is absent that was said to be."""
        return self._known(_ratio(self.true_negatives, self.true_negatives + self.false_positives))

    @property
    def f1(self) -> Array:
        """Harmonic mean of precision and recall, of the answer "present"; its mean over labels is macro F1."""
        return self._known(_ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives))

    @property
    def f1_micro(self) -> Array:
        """F1 of all labels' counts together, (R,) or ()."""
        hits, said, is_so = (
            values.sum(axis=-1)
            for values in (
                self.true_positives,
                self.true_positives + self.false_positives,
                self.true_positives + self.false_negatives,
            )
        )
        return _ratio(2 * hits, said + is_so)

    @property
    def f1_weighted(self) -> Array:
        """F1 of labels averaged by their positives, (R,) or (). Not what CT-CLIP published: see `f1_of_both_answers`."""
        support = np.where(np.isnan(self.f1), 0.0, self.true_positives + self.false_negatives)
        return _ratio((np.nan_to_num(self.f1) * support).sum(axis=-1), support.sum(axis=-1))

    @property
    def f1_of_both_answers(self) -> Array:
        """F1 of "present" and of "absent" averaged by how often each is so: CT-CLIP's "weighted F1". High where a finding is rare."""
        positives, negatives = self.true_positives + self.false_negatives, self.true_negatives + self.false_positives
        wrong = self.false_positives + self.false_negatives
        present = _ratio(2 * self.true_positives, 2 * self.true_positives + wrong)
        absent = _ratio(2 * self.true_negatives, 2 * self.true_negatives + wrong)
        return self._known(_ratio(present * positives + absent * negatives, positives + negatives))

    def _known(self, values: Array) -> Array:
        both = (self.true_positives + self.false_negatives > 0) & (self.true_negatives + self.false_positives > 0)
        return np.where(both, values, np.nan)


def confusion(scores_NK: ArrayLike, labels_NK: ArrayLike, *, thresholds: ArrayLike, weights_RN: ArrayLike | None = None) -> Confusion:
    """Counts at thresholds; from them come accuracy, precision, recall, specificity and F1.

    Args:
        scores_NK, labels_NK, weights_RN: as everywhere here.
        thresholds: one a label (K,), or one a scan and label (N, K); what has none, NaN, is not counted.
    """
    scores, labels, weights = _checked(scores_NK, labels_NK, weights_RN)
    at = np.asarray(thresholds, dtype=np.float64)
    said, known = scores >= at, ~np.isnan(labels) & ~np.isnan(at)
    present = labels == 1
    cells = ((True, True), (True, False), (False, False), (False, True))  # what was said, what is so
    counts = [weights @ (known & (said == say) & (present == so)) for say, so in cells]
    names = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    return Confusion(**{name: _shaped(count, weights_RN) for name, count in zip(names, counts, strict=True)})


def brier(probabilities_NK: ArrayLike, labels_NK: ArrayLike, *, weights_RN: ArrayLike | None = None) -> Array:
    """Mean squared distance of probability and label."""
    probabilities, labels, weights = _checked(probabilities_NK, labels_NK, weights_RN, probabilities=True)
    return _shaped(_ratio(weights @ np.nan_to_num((probabilities - labels) ** 2), weights @ ~np.isnan(labels)), weights_RN)


def calibration_error(probabilities_NK: ArrayLike, labels_NK: ArrayLike, *, bins: int = BINS, weights_RN: ArrayLike | None = None) -> Array:
    """Expected calibration error: |mean probability - share present| in equal bins, weighted by how many fall into each."""
    probabilities, labels, weights = _checked(probabilities_NK, labels_NK, weights_RN, probabilities=True)
    distance, place = np.nan_to_num(probabilities - labels), bin_of(probabilities, bins)
    gaps = sum(np.abs(weights @ np.where(place == one, distance, 0.0)) for one in range(bins))
    return _shaped(_ratio(gaps, weights @ ~np.isnan(labels)), weights_RN)


def bin_of(probabilities: Array, bins: int) -> NDArray[np.int64]:
    """Which of equal bins ((0, 1/bins], (1/bins, 2/bins], …; 0 is in the first) each probability is in."""
    return np.clip(np.ceil(probabilities * bins).astype(np.int64) - 1, 0, bins - 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """What each threshold lets through, highest first, of one label.

    Attributes:
        thresholds_G: the distinct scores.
        true_positives_RG: positives with this score or a higher one.
        false_positives_RG: negatives likewise; the last column of both is all there are.
    """

    thresholds_G: Array
    true_positives_RG: Array
    false_positives_RG: Array


def curve(scores_N: ArrayLike, labels_N: ArrayLike, *, weights_RN: ArrayLike | None = None) -> Curve:
    """The one pass over sorted scores that ranking metrics, ROC and precision-recall curves are made of."""
    scores, labels, weights = _checked(np.reshape(scores_N, (-1, 1)), np.reshape(labels_N, (-1, 1)), weights_RN)
    return next(_curves(scores, labels, weights))


def _curves(scores_NK: Array, labels_NK: Array, weights_RN: Array) -> Iterator[Curve]:
    for scores_N, labels_N in zip(scores_NK.T, labels_NK.T, strict=True):
        order = np.argsort(-scores_N, kind="stable")
        order = order[~np.isnan(labels_N[order])]
        ranked = scores_N[order]
        last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)])  # of each group of ties
        taken = weights_RN[:, order]
        positive = np.cumsum(taken * (labels_N[order] == 1), axis=1)
        every = np.cumsum(taken, axis=1)
        if len(last) < len(order):
            positive, every = positive[:, last], every[:, last]
        yield Curve(thresholds_G=ranked[last], true_positives_RG=positive, false_positives_RG=every - positive)


def _area_under_roc(curve: Curve) -> Array:
    up, right = curve.true_positives_RG, curve.false_positives_RG
    below: Array = np.einsum("rg,rg->r", _steps(right), up) - np.einsum("rg,rg->r", _steps(right), _steps(up)) / 2
    return below / (up[:, -1] * right[:, -1])


def _average_precision(curve: Curve) -> Array:
    hits = curve.true_positives_RG
    precision = hits / np.maximum(hits + curve.false_positives_RG, np.finfo(np.float64).tiny)
    summed: Array = np.einsum("rg,rg->r", _steps(hits), precision)
    return summed / hits[:, -1]


def _steps(values_RG: Array) -> Array:
    return np.diff(values_RG, axis=1, prepend=0.0)


def _ranked(measure: Callable[[Curve], Array], scores_NK: ArrayLike, labels_NK: ArrayLike, weights_RN: ArrayLike | None) -> Array:
    scores, labels, weights = _checked(scores_NK, labels_NK, weights_RN)
    values = np.full((len(weights), scores.shape[1]), np.nan)
    for column, one in enumerate(_curves(scores, labels, weights)):
        if one.thresholds_G.size:
            both = (one.true_positives_RG[:, -1] > 0) & (one.false_positives_RG[:, -1] > 0)
            with np.errstate(invalid="ignore", divide="ignore"):
                values[:, column] = np.where(both, measure(one), np.nan)
    return _shaped(values, weights_RN)


def _checked(
    scores_NK: ArrayLike, labels_NK: ArrayLike, weights_RN: ArrayLike | None, *, probabilities: bool = False
) -> tuple[Array, Array, Array]:
    scores, labels = np.asarray(scores_NK, dtype=np.float64), np.asarray(labels_NK, dtype=np.float64)
    if scores.ndim != 2 or scores.shape != labels.shape:
        raise InputError(f"scores are of shape {scores.shape}, labels of {labels.shape}", cure="Give both as (scans, labels).")
    _refuse(~np.isfinite(scores), "scores that are no numbers", "Leave these scans out, or score them again.")
    _refuse(~(np.isnan(labels) | (labels == 0) | (labels == 1)), "labels that are not 0, 1 or NaN", "Correct the labels.")
    if probabilities:
        _refuse((scores < 0) | (scores > 1), "probabilities outside 0 to 1", "Give probabilities, not logits.")
    weights = np.ones((1, len(scores))) if weights_RN is None else np.asarray(weights_RN, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != len(scores):
        raise InputError(f"weights are of shape {weights.shape} for {len(scores)} scans", cure="Give them as (draws, scans).")
    return scores, labels, weights


def _refuse(wrong_NK: NDArray[np.bool_], what: str, cure: str) -> None:
    if wrong_NK.any():
        rows = np.flatnonzero(wrong_NK.any(axis=1))
        shown = ", ".join(map(str, rows[:10])) + (f" and {len(rows) - 10:,} more" if len(rows) > 10 else "")
        raise InputError(f"{what} in rows {shown}", cure=cure)


def _ratio(above: Any, below: Any) -> Array:
    """NaN where nothing is below."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.asarray(below) > 0, np.asarray(above, dtype=np.float64) / below, np.nan)


def _shaped(values_RK: Array, weights_RN: ArrayLike | None) -> Array:
    return values_RK[0] if weights_RN is None else values_RK

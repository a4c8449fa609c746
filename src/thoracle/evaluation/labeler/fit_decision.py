"""Fit what a report classifier's logits mean, with the rules beside it, on reports it was not trained on.

Shapes: N reports, K abnormalities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from thoracle.errors import InputError
from thoracle.inference.labeler.classifier import ClassifierLabeller
from thoracle.inference.labeler.decision import AS_PUBLISHED, Decision, LabelerDecisionRule
from thoracle.inference.labeler.rules import RuleLabeller
from thoracle.inference.labeler.vocabulary import fingerprint
from thoracle.metrics.classification import f1_score
from thoracle.types import ABNORMALITIES, FloatArray

_FOLDS: Final = 5
#: Of the squared slopes, so that a label that rules answer without fault has no infinite one.
_PENALTY: Final = 0.02
_NEWTON_STEPS: Final = 50
_FEWEST: Final = 20


def fit_labelling(classifier: ClassifierLabeller, reports: Sequence[str], labels: Sequence[Sequence[int | None]]) -> LabelerDecisionRule:
    """Fit weights and thresholds of each abnormality, and measure them.

    Args:
        classifier: whose logits are weighed; what is kept beside it is not asked.
        reports: it was not trained on.
        labels: what is so: 1, 0, or None, where nobody says.

    An abnormality that fewer than twenty reports say anything of keeps the decision of a published classifier.

    Raises:
        InputError: fewer than twenty reports can be read.
    """
    ruled = RuleLabeller().label(reports)
    readable = [row for row, labels in enumerate(ruled) if not labels.unknown]
    if len(readable) < _FEWEST:
        raise InputError(f"{len(readable)} reports can be read, {_FEWEST} at least are needed", hint="Give more reports with labels.")
    logits_NK = classifier.logits([reports[row] for row in readable]).numpy().astype(np.float64)
    rules_NK = np.array([ruled[row].values for row in readable], dtype=np.float64)
    truth_NK = np.array([labels[row] for row in readable], dtype=np.float64)
    decisions = {name: _decide(logits_NK[:, k], rules_NK[:, k], truth_NK[:, k]) for k, name in enumerate(ABNORMALITIES)}
    return LabelerDecisionRule(
        weights_sha256=classifier.folder.weights_sha256,
        rules=fingerprint(),
        fitted_on=f"{len(readable):,} reports",
        decisions=decisions,
    )


def _decide(logits_N: FloatArray, rules_N: FloatArray, truth_N: FloatArray) -> Decision:
    labelled = ~np.isnan(truth_N)
    if labelled.sum() < _FEWEST:  # nothing is known of it: `auto` goes by the rules
        return AS_PUBLISHED
    given_N2, truth_N = np.stack([logits_N, rules_N], axis=1)[labelled], truth_N[labelled]
    fold_N = np.arange(len(truth_N)) % _FOLDS
    said_N = np.zeros(len(truth_N))
    for fold in range(_FOLDS):
        apart = fold_N == fold
        weights, threshold = _fit(given_N2[~apart], truth_N[~apart])
        said_N[apart] = _probability(weights, given_N2[apart]) >= threshold
    (offset, logit, rule), threshold = _fit(given_N2, truth_N)
    return Decision(
        offset=float(offset),
        logit=float(logit),
        rule=float(rule),
        threshold=threshold,
        f1_classifier=_f1(said_N, truth_N),
        f1_rules=_f1(given_N2[:, 1], truth_N),
    )


def _f1(predicted_N: FloatArray, truth_N: FloatArray) -> float:
    """Compute F1 of predictions of 0 and 1; 0 without a positive among predictions and truth."""
    hits = (predicted_N * truth_N).sum()
    return float(np.nan_to_num(f1_score(hits, predicted_N.sum() - hits, truth_N.sum() - hits)))


def _fit(given_N2: FloatArray, truth_N: FloatArray) -> tuple[FloatArray, float]:
    """Logistic regression by Newton's method, and the threshold of the best F1, the nearest to one half of those alike."""
    spread = np.maximum(given_N2.std(axis=0), 1e-6)
    middle = given_N2.mean(axis=0)
    x_N3 = np.column_stack([np.ones(len(truth_N)), (given_N2 - middle) / spread])
    penalty, weights = np.diag([1e-6, _PENALTY, _PENALTY]) * len(truth_N), np.zeros(3)
    for _ in range(_NEWTON_STEPS):
        p_N = 1 / (1 + np.exp(-np.clip(x_N3 @ weights, -500, 500)))
        gradient = x_N3.T @ (p_N - truth_N) + penalty @ weights
        curvature = (x_N3 * (p_N * (1 - p_N))[:, None]).T @ x_N3 + penalty
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step / max(1.0, float(np.abs(step).max()))  # no step beyond 1: far from the optimum the curve is flat
        if np.abs(step).max() < 1e-9:
            break
    slopes = weights[1:] / spread
    fitted = np.array([weights[0] - slopes @ middle, *slopes])
    return fitted, _threshold(_probability(fitted, given_N2), truth_N)


def _threshold(p_N: FloatArray, truth_N: FloatArray) -> float:
    steps = np.unique(p_N)
    between: list[float] = [0.5, *((steps[1:] + steps[:-1]) / 2).tolist()]
    return max(between, key=lambda threshold: (_f1((p_N >= threshold).astype(np.float64), truth_N), -abs(threshold - 0.5)))


def _probability(weights: FloatArray, given_N2: FloatArray) -> FloatArray:
    probabilities: FloatArray = 1 / (1 + np.exp(-np.clip(weights[0] + given_N2 @ weights[1:], -500, 500)))
    return probabilities

"""Choose decision thresholds on one set of scans for another; and the published way.

Shapes: N scans, K labels, R draws.
"""

from __future__ import annotations

import numpy as np

from thoracle.errors import InputError
from thoracle.evaluation.detection.summary import Scores
from thoracle.metrics.classification import Confusion, confusion, curve
from thoracle.types import FloatArray

#: Hamamci et al. (arXiv:2403.17834) try these, and say present above them, not at them.
_PUBLISHED_GRID = np.linspace(0, 1, 100)


def youden_thresholds(scores: Scores) -> FloatArray:
    """Return (K,): scores of highest sensitivity + specificity, the highest such on ties; NaN for labels with one answer only.

    Raises:
        InputError: no label has both answers.
    """
    chosen = np.full(len(scores.labels), np.nan)
    for k, name in enumerate(scores.labels):
        if name not in scores.single_class_labels:
            roc = curve(scores.probabilities_NK[:, k], scores.truth_NK[:, k])
            hits, alarms = roc.true_positives_RG[0], roc.false_positives_RG[0]
            chosen[k] = roc.thresholds_G[np.argmax(hits / hits[-1] - alarms / alarms[-1])]
    if np.isnan(chosen).all():
        raise InputError("no label has both answers among the scans that thresholds come from", hint="Give more of them.")
    return chosen


def published_thresholds(scores: Scores) -> FloatArray:
    """Return (K,): CT-CLIP's choice on the scored labels: of a hundred, the one nearest to the ROC's corner, the last on ties."""
    chosen = np.full(len(scores.labels), np.nan)
    for k, name in enumerate(scores.labels):
        if name not in scores.single_class_labels:
            labelled = ~np.isnan(scores.truth_NK[:, k])
            probabilities, truth = scores.probabilities_NK[labelled, k], scores.truth_NK[labelled, k] == 1
            above = probabilities[None, :] > _PUBLISHED_GRID[:, None]
            distance = np.hypot(1 - above[:, truth].mean(axis=1), above[:, ~truth].mean(axis=1))
            chosen[k] = _PUBLISHED_GRID[np.flatnonzero(distance <= distance.min())[-1]]
    return chosen


def published_counts(scores: Scores) -> tuple[FloatArray, Confusion]:
    """Count at thresholds as published: for comparison with papers alone."""
    thresholds = published_thresholds(scores)
    return thresholds, confusion(scores.probabilities_NK, scores.truth_NK, thresholds=np.nextafter(thresholds, np.inf))

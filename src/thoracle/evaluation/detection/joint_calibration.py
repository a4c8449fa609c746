"""Calibrate labels together: a logistic regression of each label on the logits of all, so that one finding speaks for another.

A label's own logit is free; those of others are shrunk (ridge), by as much as predicts patients best who were not fitted to.

Shapes: N scans, K labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from thoracle.evaluation.detection.summary import Scores
from thoracle.inference.calibration import EDGE
from thoracle.types import FloatArray

#: Penalties of others' slopes, of logits of unit spread; the first leaves each label by itself.
PENALTIES: Final = (1e6, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
_FOLDS: Final = 5
_LEAST_SLOPE: Final = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class JointFit:
    """Hold what each label's logit is made of.

    Attributes:
        weights_KK: slopes of all labels' logits, a row for each calibrated label; unknown labels keep their own.
        offsets_K: of the sums.
        held_out_NK: probabilities of the fitted scans, each by a fit to other patients.
        penalty: of others' slopes.
    """

    weights_KK: FloatArray
    offsets_K: FloatArray
    held_out_NK: FloatArray
    penalty: float


def fit_joint(scores: Scores) -> JointFit:
    """Fit labels with both answers; the penalty is that of `PENALTIES` with the least log loss in five turns of patients."""
    logits_NK = logit(np.clip(scores.probabilities_NK, EDGE, 1 - EDGE))
    mean_K, spread_K = logits_NK.mean(axis=0), np.maximum(logits_NK.std(axis=0), EDGE)
    x_NK, truth_NK = (logits_NK - mean_K) / spread_K, scores.truth_NK
    held_out = {penalty: np.full_like(x_NK, np.nan) for penalty in PENALTIES}
    for others, part in _turns(scores.patients):
        for penalty, probabilities_NK in held_out.items():
            weights_KK, offsets_K = _fit(x_NK[others], truth_NK[others], penalty)
            probabilities_NK[part] = expit(x_NK[part] @ weights_KK.T + offsets_K)
    best = min(PENALTIES, key=lambda penalty: _log_loss(held_out[penalty], truth_NK))
    weights_KK, offsets_K = _fit(x_NK, truth_NK, best)
    return JointFit(
        weights_KK=weights_KK / spread_K,
        offsets_K=offsets_K - weights_KK @ (mean_K / spread_K),
        held_out_NK=held_out[best],
        penalty=best,
    )


def _turns(patients: tuple[str, ...]) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yield who is fitted to and who is predicted, each patient predicted once; all and all where they are too few to part."""
    folds = np.array([int.from_bytes(sha256(patient.encode()).digest()[:4]) % _FOLDS for patient in patients])
    numbers = np.unique(folds)
    for number in numbers:
        yield (folds != number) | (len(numbers) == 1), folds == number


def _fit(x_NK: FloatArray, truth_NK: FloatArray, penalty: float) -> tuple[FloatArray, FloatArray]:
    """Slopes (K, K) and offsets (K,) of least log loss; those of a label without both answers pass its own logit on."""
    labels = truth_NK.shape[1]
    weights_KK, offsets_K = np.eye(labels), np.zeros(labels)
    for k in range(labels):
        labelled = ~np.isnan(truth_NK[:, k])
        x, truth = x_NK[labelled], truth_NK[labelled, k] == 1
        positive, negative = np.count_nonzero(truth), np.count_nonzero(~truth)
        if not positive or not negative:
            continue
        # Platt's targets, a little inside 0 and 1
        target = np.where(truth, (positive + 1) / (positive + 2), 1 / (negative + 2))
        penalties = np.where(np.arange(labels) == k, 0.0, penalty)

        def loss(
            parameters: FloatArray, x: FloatArray = x, target: FloatArray = target, penalties: FloatArray = penalties
        ) -> tuple[float, FloatArray]:
            slopes, z = parameters[:-1], x @ parameters[:-1] + parameters[-1]
            error = expit(z) - target
            value = (np.logaddexp(0, z) - target * z).mean() + (penalties * slopes**2).sum() / 2
            return float(value), np.append(x.T @ error / len(x) + penalties * slopes, error.mean())

        bounds = [(_LEAST_SLOPE, None) if j == k else (None, None) for j in range(labels + 1)]
        fit = minimize(loss, np.append(weights_KK[k], 0.0), jac=True, method="L-BFGS-B", bounds=bounds)
        weights_KK[k], offsets_K[k] = fit.x[:-1], fit.x[-1]
    return weights_KK, offsets_K


def _log_loss(probabilities_NK: FloatArray, truth_NK: FloatArray) -> float:
    p = np.clip(probabilities_NK, EDGE, 1 - EDGE)
    return float(-np.nanmean(truth_NK * np.log(p) + (1 - truth_NK) * np.log1p(-p)))

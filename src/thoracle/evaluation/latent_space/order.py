"""Measure whether latents are ordered by how much is found, and how severe it is.

Shapes: N scans, K findings, L latent width, R draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from thoracle.evaluation.detection.summary import mean_of_known
from thoracle.evaluation.latent_space.measures import NEIGHBOURS, findings_count
from thoracle.metrics.bootstrap import RESAMPLES, Interval, estimate
from thoracle.metrics.classification import auroc
from thoracle.metrics.correlation import spearman
from thoracle.types import FloatArray

#: Grades 1, 2 and 3.
SEVERITIES: Final = ("mild", "moderate", "severe")
#: Scans with a finding, of which at least two grades: fewer have no order.
_FEWEST: Final = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class SeverityOrder:
    """Hold whether a more severe finding lies nearer to the words that state it.

    Attributes:
        by_finding: Spearman's correlation of severity and of the margin between both prompts, among scans with the finding.
        mean: over findings.
        auroc: of the margin, of scans with a finding of each severity against scans without it; macro average.
    """

    by_finding: Mapping[str, Interval]
    mean: Interval
    auroc: Mapping[str, Interval]


@dataclass(frozen=True, kw_only=True, eq=False)
class Order:
    """Hold whether scans lie by their number of findings, and findings by their severity; correlations are Spearman's.

    Attributes:
        axis: number of findings and the first principal component of image latents, which has no sign: it is taken positive.
        neighbours: number of findings of a scan, and their mean over its ten nearest scans of other patients.
        severity: None where nobody knows grades, or the model has no prompts.
    """

    axis: Interval
    neighbours: Interval
    severity: SeverityOrder | None = field(default=None)


def measure_order(
    image_NL: FloatArray,
    *,
    truth_NK: FloatArray,
    labels: Sequence[str],
    patients: Sequence[str],
    margins_NK: FloatArray | None = None,
    grades_NK: FloatArray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Order:
    """Measure order by number of findings and, with margins and grades, by severity.

    Args:
        image_NL: latents of unit norm.
        truth_NK: 1, 0, NaN; a scan of which no label is known has no number of findings.
        labels: names of the K findings.
        patients: of the N scans.
        margins_NK: cosine of a scan with the prompt that states a finding, less that with the one that denies it.
        grades_NK: 1 for mild to 3 for severe; NaN where it is absent or nobody says.
        resamples, seed: of the draws.
    """
    number_N = findings_count(truth_NK)
    known = np.flatnonzero(~np.isnan(number_N))
    number_N = number_N[known]
    centred = image_NL - image_NL.mean(axis=0)
    axis_N = (centred @ np.linalg.svd(centred, full_matrices=False)[2][0])[known]
    axis_N *= -1 if spearman(axis_N, number_N) < 0 else 1
    near_N = _neighbours_mean(image_NL[known], number_N, [patients[row] for row in known.tolist()])

    def measures(weights_RN: FloatArray) -> FloatArray:
        return np.stack([spearman(number_N, values, weights_RN=weights_RN[:, known]) for values in (axis_N, near_N)], axis=1)

    axis, neighbours = estimate(measures, patients, resamples=resamples, seed=seed)
    severity = None
    if margins_NK is not None and grades_NK is not None:
        severity = _by_severity(margins_NK, grades_NK, truth_NK, labels, patients, resamples=resamples, seed=seed)
    return Order(axis=axis, neighbours=neighbours, severity=severity)


def _neighbours_mean(image_NL: FloatArray, values_N: FloatArray, patients: Sequence[str]) -> FloatArray:
    """Average over the nearest scans of other patients; where there are fewer, over these."""
    codes = np.unique(np.array(patients), return_inverse=True)[1]
    cosines_NN = np.where(codes[:, None] == codes, -np.inf, image_NL @ image_NL.T)
    nearest_NM = np.argsort(-cosines_NN, axis=1, kind="stable")[:, :NEIGHBOURS]
    others = np.take_along_axis(cosines_NN, nearest_NM, axis=1) > -np.inf
    return np.asarray((values_N[nearest_NM] * others).sum(axis=1) / np.maximum(others.sum(axis=1), 1))


def _by_severity(
    margins_NK: FloatArray,
    grades_NK: FloatArray,
    truth_NK: FloatArray,
    labels: Sequence[str],
    patients: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> SeverityOrder:
    def measures(weights_RN: FloatArray) -> FloatArray:
        columns = [_within(margins_NK[:, k], grades_NK[:, k], weights_RN) for k in range(len(labels))]
        correlations_RK = np.stack(columns, axis=1)
        areas = []
        for grade in range(1, len(SEVERITIES) + 1):
            answers_NK = np.where(grades_NK == grade, 1.0, np.where(truth_NK == 0, 0.0, np.nan))
            areas.append(mean_of_known(auroc(margins_NK, answers_NK, weights_RN=weights_RN)))
        return np.column_stack([correlations_RK, mean_of_known(correlations_RK), *areas])

    intervals = estimate(measures, patients, resamples=resamples, seed=seed)
    return SeverityOrder(
        by_finding=dict(zip(labels, intervals, strict=False)),
        mean=intervals[len(labels)],
        auroc=dict(zip(SEVERITIES, intervals[len(labels) + 1 :], strict=True)),
    )


def _within(margins_N: FloatArray, grades_N: FloatArray, weights_RN: FloatArray) -> FloatArray:
    rows = np.flatnonzero(~np.isnan(grades_N))
    if len(rows) < _FEWEST:
        return np.full(len(weights_RN), np.nan)
    return spearman(margins_N[rows], grades_N[rows], weights_RN=weights_RN[:, rows])

"""Compute confidence intervals and paired comparisons: bootstrap over patients, and DeLong for AUROC.

Scans of one patient resemble each other, so draws are of patients, never of scans, and DeLong's variance clusters scans by patient.

Shapes: N scans, R draws.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from thoracle.errors import InputError
from thoracle.types import FloatArray

RESAMPLES: Final = 1000
#: Of all intervals, unless said.
LEVEL: Final = 0.95
#: Weights in memory at once: 32 MiB.
_AT_ONCE: Final = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Estimate with its bounds; NaN where it is not defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Hold the difference of two models on the same scans, first minus second, with its bounds and two-sided p."""

    value: float
    low: float
    high: float
    p: float


def patient_weights(patients: Sequence[Hashable], *, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[FloatArray]:
    """Draw as many patients as there are, with replacement, and count how often each scan is in a draw.

    The same patients, resamples and seed give the same draws, so differences of two models are paired.

    Yields:
        blocks of rows, (R in all, N).

    Raises:
        InputError: no scan, or no draw.
    """
    if not len(patients) or resamples < 1:
        raise InputError(f"{len(patients)} scans and {resamples} resamples give no interval", hint="Give one of each at least.")
    codes = _patient_codes(patients)
    count = int(codes.max()) + 1
    random, rows = np.random.default_rng(seed), max(1, _AT_ONCE // len(patients))
    for first in range(0, resamples, rows):
        drawn = random.integers(count, size=(min(rows, resamples - first), count))
        offset = np.arange(len(drawn))[:, None] * count
        counts = np.bincount((drawn + offset).ravel(), minlength=drawn.size).reshape(drawn.shape)
        yield counts[:, codes].astype(np.float64)


def _patient_codes(patients: Sequence[Hashable]) -> NDArray[np.int64]:
    """Number patients in order of appearance, (N,)."""
    codes = {patient: code for code, patient in enumerate(dict.fromkeys(patients))}
    return np.array([codes[patient] for patient in patients], dtype=np.int64)


def bootstrap(
    measure: Callable[[FloatArray], FloatArray], patients: Sequence[Hashable], *, resamples: int = RESAMPLES, seed: int = 0
) -> FloatArray:
    """Evaluate a measure of each draw, (R, …).

    Args:
        measure: maps weights (R, N) to (R, …).
        patients: of each scan.
        resamples, seed: of the draws.

    Raises:
        InputError: as `patient_weights`.
    """
    return np.concatenate([measure(weights) for weights in patient_weights(patients, resamples=resamples, seed=seed)])


def percentile_interval(value: ArrayLike, draws_R: ArrayLike, *, level: float = LEVEL) -> list[Interval]:
    """Give each value its percentiles over draws, one interval for each column of `draws_R` (R, K); draws that are NaN are left out."""
    values, draws = np.atleast_1d(np.asarray(value, dtype=np.float64)), np.asarray(draws_R, dtype=np.float64)
    columns = draws.reshape(len(draws), -1).T
    tails = ((1 - level) / 2, (1 + level) / 2)
    intervals = []
    for estimate, column in zip(values.ravel(), columns, strict=True):
        defined = column[~np.isnan(column)]
        low, high = np.quantile(defined, tails) if defined.size and not np.isnan(estimate) else (np.nan, np.nan)
        intervals.append(Interval(value=float(estimate), low=float(low), high=float(high)))
    return intervals


def estimate(
    measure: Callable[[FloatArray], FloatArray], patients: Sequence[Hashable], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Interval]:
    """Evaluate a measure of the scans, each counted once, with its percentiles over draws; `measure` maps weights (R, N) to (R, K)."""
    draws = bootstrap(measure, patients, resamples=resamples, seed=seed)
    return percentile_interval(measure(np.ones((1, len(patients))))[0], draws)


def paired_difference(
    first: ArrayLike, second: ArrayLike, first_R: ArrayLike, second_R: ArrayLike, *, level: float = LEVEL
) -> list[Comparison]:
    """Compare first minus second over draws of the same patients; p is twice the smaller fraction of draws on either side of 0."""
    draws = np.asarray(first_R, dtype=np.float64) - np.asarray(second_R, dtype=np.float64)
    intervals = percentile_interval(np.asarray(first) - np.asarray(second), draws, level=level)
    return [
        Comparison(value=interval.value, low=interval.low, high=interval.high, p=_two_sided_p(column))
        for interval, column in zip(intervals, draws.reshape(len(draws), -1).T, strict=True)
    ]


def _two_sided_p(draws: FloatArray) -> float:
    defined = draws[~np.isnan(draws)]
    if not defined.size:
        return float("nan")
    rarer = min(np.count_nonzero(defined <= 0), np.count_nonzero(defined >= 0))
    return float(min(1.0, 2 * (rarer + 1) / (defined.size + 1)))


def delong(scores_N: ArrayLike, labels_N: ArrayLike, *, patients: Sequence[Hashable] | None = None, level: float = LEVEL) -> Interval:
    """Compute AUROC and its analytic interval (DeLong et al., Biometrics 1988), by midranks (Sun and Xu, 2014).

    Args:
        scores_N, labels_N: labels of 1, 0 or NaN.
        patients: of each scan, whose scans count as a cluster (Obuchowski, Biometrics 1997); by default each scan is its own.
        level: of the interval, which is cut at 0 and 1.
    """
    placements = _placements(scores_N, labels_N, patients)
    if placements is None:
        return Interval(value=np.nan, low=np.nan, high=np.nan)
    margin = norm.ppf((1 + level) / 2) * np.sqrt(_variance(placements))
    low, high = np.clip([placements.area - margin, placements.area + margin], 0, 1)
    return Interval(value=placements.area, low=float(low), high=float(high))


def delong_difference(
    first_N: ArrayLike,
    second_N: ArrayLike,
    labels_N: ArrayLike,
    *,
    patients: Sequence[Hashable] | None = None,
    level: float = LEVEL,
) -> Comparison:
    """Compare the AUROC of two scores of the same scans, first minus second, by DeLong's paired test."""
    a, b = _placements(first_N, labels_N, patients), _placements(second_N, labels_N, patients)
    if a is None or b is None:
        return Comparison(value=np.nan, low=np.nan, high=np.nan, p=np.nan)
    both = _Placements(
        area=a.area - b.area,
        of_positives=a.of_positives - b.of_positives,
        of_negatives=a.of_negatives - b.of_negatives,
        positive_patients=a.positive_patients,
        negative_patients=a.negative_patients,
    )
    error = np.sqrt(_variance(both))
    margin = norm.ppf((1 + level) / 2) * error
    p = float(2 * norm.sf(abs(both.area) / error)) if error else 1.0 if both.area == 0 else 0.0
    return Comparison(value=both.area, low=float(both.area - margin), high=float(both.area + margin), p=p)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Placements:
    """Fraction of negatives below each positive and of positives above each negative, with the patients of both."""

    area: float
    of_positives: FloatArray
    of_negatives: FloatArray
    positive_patients: NDArray[np.int64]
    negative_patients: NDArray[np.int64]


def _placements(scores_N: ArrayLike, labels_N: ArrayLike, patients: Sequence[Hashable] | None) -> _Placements | None:
    """Compute placement values; None without positives or negatives."""
    scores, labels = np.asarray(scores_N, dtype=np.float64), np.asarray(labels_N, dtype=np.float64)
    codes = np.arange(len(scores)) if patients is None else _patient_codes(patients)
    if scores.ndim != 1 or scores.shape != labels.shape or codes.shape != scores.shape or not np.isfinite(scores).all():
        raise InputError(
            f"scores are of shape {scores.shape}, labels of {labels.shape}, patients {codes.shape}", hint="Give one finite number a scan."
        )
    positive, negative = labels == 1, labels == 0
    n_positive, n_negative = np.count_nonzero(positive), np.count_nonzero(negative)
    if not n_positive or not n_negative:
        return None
    together = rankdata(np.concatenate([scores[positive], scores[negative]]))
    below = (together[:n_positive] - rankdata(scores[positive])) / n_negative
    above = 1 - (together[n_positive:] - rankdata(scores[negative])) / n_positive
    return _Placements(
        area=float(below.mean()),
        of_positives=below,
        of_negatives=above,
        positive_patients=codes[positive],
        negative_patients=codes[negative],
    )


def _variance(p: _Placements) -> float:
    """Compute the variance of the area; NaN where fewer than two patients are positive, or negative."""
    patients = np.unique(np.concatenate([p.positive_patients, p.negative_patients]))
    n_positive, n_negative = len(p.of_positives), len(p.of_negatives)
    positive, has_positive = _sums(p.of_positives - p.area, p.positive_patients, patients)
    negative, has_negative = _sums(p.of_negatives - p.area, p.negative_patients, patients)
    if has_positive < 2 or has_negative < 2:
        return float("nan")
    spread = has_positive / (has_positive - 1) * (positive @ positive) / n_positive**2
    spread += has_negative / (has_negative - 1) * (negative @ negative) / n_negative**2
    covariance = len(patients) / (len(patients) - 1) * (positive @ negative) / (n_positive * n_negative)
    return max(0.0, float(spread + 2 * covariance))


def _sums(values: FloatArray, patients: NDArray[np.int64], all_patients: NDArray[np.int64]) -> tuple[FloatArray, int]:
    """Sum values by patient, in the order of `all_patients`, and count the patients that have any."""
    indices = np.searchsorted(all_patients, patients)
    return np.bincount(indices, weights=values, minlength=len(all_patients)).astype(np.float64), len(np.unique(indices))

"""How sure a figure is: bootstrap over patients, and DeLong for AUROC; knows arrays, and nothing of what they measure but AUROC.

Scans of one patient resemble each other, so patients are drawn, never scans, and DeLong's variance is of clusters where patients are given.

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

Array = NDArray[np.float64]
RESAMPLES: Final = 1000
#: Of all intervals, unless said.
LEVEL: Final = 0.95
#: Weights in memory at once: 32 MiB.
_AT_ONCE: Final = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure with its bounds; NaN where it cannot be said."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models on the same scans: first minus second, with its bounds, and how often chance alone gives as much (two-sided p)."""

    value: float
    low: float
    high: float
    p: float


def patient_weights(patients: Sequence[Hashable], *, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[Array]:
    """How often each scan counts in each draw of as many patients as there are, with replacement: blocks of rows, (R in all, N).

    The same patients, resamples and seed give the same draws, so that two models see the same patients: their differences are paired.

    Raises:
        InputError: no scan, or no draw.
    """
    if not len(patients) or resamples < 1:
        raise InputError(f"{len(patients)} scans and {resamples} resamples give no interval", cure="Give one of each at least.")
    places = {patient: place for place, patient in enumerate(dict.fromkeys(patients))}
    codes = np.array([places[patient] for patient in patients])
    random, rows = np.random.default_rng(seed), max(1, _AT_ONCE // len(patients))
    for first in range(0, resamples, rows):
        drawn = random.integers(len(places), size=(min(rows, resamples - first), len(places)))
        offset = np.arange(len(drawn))[:, None] * len(places)
        counts = np.bincount((drawn + offset).ravel(), minlength=drawn.size).reshape(drawn.shape)
        yield counts[:, codes].astype(np.float64)


def bootstrap(measure: Callable[[Array], Array], patients: Sequence[Hashable], *, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """`measure` of each draw: it takes weights (R, N) and gives (R, …); blocks are put together.

    Raises:
        InputError: as `patient_weights`.
    """
    return np.concatenate([measure(weights) for weights in patient_weights(patients, resamples=resamples, seed=seed)])


def percentile_interval(value: ArrayLike, draws_R: ArrayLike, *, level: float = LEVEL) -> list[Interval]:
    """The figures with their percentiles over draws, one for each column of `draws_R` (R, K). Draws that are NaN are left out."""
    values, draws = np.atleast_1d(np.asarray(value, dtype=np.float64)), np.asarray(draws_R, dtype=np.float64)
    columns = draws.reshape(len(draws), -1).T
    tails = ((1 - level) / 2, (1 + level) / 2)
    found = []
    for one, column in zip(values.ravel(), columns, strict=True):
        known = column[~np.isnan(column)]
        low, high = np.quantile(known, tails) if known.size and not np.isnan(one) else (np.nan, np.nan)
        found.append(Interval(value=float(one), low=float(low), high=float(high)))
    return found


def paired_difference(
    first: ArrayLike, second: ArrayLike, first_R: ArrayLike, second_R: ArrayLike, *, level: float = LEVEL
) -> list[Comparison]:
    """First minus second, by draws of the same patients; p is twice the smaller share of draws on either side of no difference."""
    draws = np.asarray(first_R, dtype=np.float64) - np.asarray(second_R, dtype=np.float64)
    intervals = percentile_interval(np.asarray(first) - np.asarray(second), draws, level=level)
    return [
        Comparison(value=one.value, low=one.low, high=one.high, p=_share_across_zero(column))
        for one, column in zip(intervals, draws.reshape(len(draws), -1).T, strict=True)
    ]


def _share_across_zero(draws: Array) -> float:
    known = draws[~np.isnan(draws)]
    if not known.size:
        return float("nan")
    rarer = min(np.count_nonzero(known <= 0), np.count_nonzero(known >= 0))
    return float(min(1.0, 2 * (rarer + 1) / (known.size + 1)))


def delong(scores_N: ArrayLike, labels_N: ArrayLike, *, patients: Sequence[Hashable] | None = None, level: float = LEVEL) -> Interval:
    """AUROC and its interval without drawing (DeLong et al., Biometrics 1988), by midranks (Sun and Xu, 2014).

    Args:
        scores_N, labels_N: labels of 1, 0 or NaN.
        patients: of each scan; scans of one count as a cluster (Obuchowski, Biometrics 1997). Each its own if absent.
        level: of the interval, which is cut at 0 and 1.
    """
    placed = _placements(scores_N, labels_N, patients)
    if placed is None:
        return Interval(value=np.nan, low=np.nan, high=np.nan)
    reach = norm.ppf((1 + level) / 2) * np.sqrt(_variance(placed))
    low, high = np.clip([placed.area - reach, placed.area + reach], 0, 1)
    return Interval(value=placed.area, low=float(low), high=float(high))


def delong_difference(
    first_N: ArrayLike,
    second_N: ArrayLike,
    labels_N: ArrayLike,
    *,
    patients: Sequence[Hashable] | None = None,
    level: float = LEVEL,
) -> Comparison:
    """AUROC of the first scores minus that of the second, of the same scans: DeLong's paired test."""
    one, two = _placements(first_N, labels_N, patients), _placements(second_N, labels_N, patients)
    if one is None or two is None:
        return Comparison(value=np.nan, low=np.nan, high=np.nan, p=np.nan)
    both = _Placements(
        area=one.area - two.area,
        of_positives=one.of_positives - two.of_positives,
        of_negatives=one.of_negatives - two.of_negatives,
        positive_patients=one.positive_patients,
        negative_patients=one.negative_patients,
    )
    error = np.sqrt(_variance(both))
    reach = norm.ppf((1 + level) / 2) * error
    p = float(2 * norm.sf(abs(both.area) / error)) if error else 1.0 if both.area == 0 else 0.0
    return Comparison(value=both.area, low=float(both.area - reach), high=float(both.area + reach), p=p)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Placements:
    """Of each positive, the share of negatives below it; of each negative, the share of positives above it; and whose scans they are."""

    area: float
    of_positives: Array
    of_negatives: Array
    positive_patients: NDArray[np.int64]
    negative_patients: NDArray[np.int64]


def _placements(scores_N: ArrayLike, labels_N: ArrayLike, patients: Sequence[Hashable] | None) -> _Placements | None:
    """None without both answers."""
    scores, labels = np.asarray(scores_N, dtype=np.float64), np.asarray(labels_N, dtype=np.float64)
    places = {patient: place for place, patient in enumerate(dict.fromkeys(patients or ()))}
    codes = np.arange(len(scores)) if patients is None else np.array([places[patient] for patient in patients], dtype=np.int64)
    if scores.ndim != 1 or scores.shape != labels.shape or codes.shape != scores.shape or not np.isfinite(scores).all():
        raise InputError(
            f"scores are of shape {scores.shape}, labels of {labels.shape}, patients {codes.shape}", cure="Give one finite number a scan."
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
    """Of the area; NaN where fewer than two patients are positive, or negative."""
    known = np.unique(np.concatenate([p.positive_patients, p.negative_patients]))
    n_positive, n_negative = len(p.of_positives), len(p.of_negatives)
    positive, has_positive = _sums(p.of_positives - p.area, p.positive_patients, known)
    negative, has_negative = _sums(p.of_negatives - p.area, p.negative_patients, known)
    if has_positive < 2 or has_negative < 2:
        return float("nan")
    spread = has_positive / (has_positive - 1) * (positive @ positive) / n_positive**2
    spread += has_negative / (has_negative - 1) * (negative @ negative) / n_negative**2
    shared = len(known) / (len(known) - 1) * (positive @ negative) / (n_positive * n_negative)
    return max(0.0, float(spread + 2 * shared))


def _sums(values: Array, patients: NDArray[np.int64], known: NDArray[np.int64]) -> tuple[Array, int]:
    """Of each known patient; and how many have any."""
    places = np.searchsorted(known, patients)
    return np.bincount(places, weights=values, minlength=len(known)).astype(np.float64), len(np.unique(places))

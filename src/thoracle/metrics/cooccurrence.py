"""Measure how labels, or their probabilities, go together over scans.

Shapes: N scans, K labels, P pairs of labels in the order of `pairs`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thoracle.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class CooccurrenceAgreement:
    """Compare how probabilities go together with how labels do.

    Attributes:
        probabilities: mean |r| over pairs of labels.
        labels: the same of the labels themselves; of N scans of unrelated labels it is about 0.8 / sqrt(N), not 0.
        pattern: correlation over pairs of both r; NaN below three pairs, or where they do not differ.
    """

    probabilities: float
    labels: float
    pattern: float


def pairs(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List the first and the second label of each pair of so many."""
    first, second = np.triu_indices(count, 1)
    return first, second


def pair_correlations(values_NK: ArrayLike) -> FloatArray:
    """Compute the correlation of each pair of columns over the scans known in both: (P,); NaN where a column does not vary there."""
    values = np.asarray(values_NK, dtype=np.float64)
    correlations = []
    for a, b in zip(*pairs(values.shape[1]), strict=True):
        both = values[~np.isnan(values[:, [a, b]]).any(axis=1)][:, [a, b]]
        varies = len(both) > 1 and (both != both[0]).any(axis=0).all()
        correlations.append(float(np.corrcoef(both[:, 0], both[:, 1])[0, 1]) if varies else np.nan)
    return np.array(correlations)


def cooccurrence_agreement(probabilities_NK: ArrayLike, labels_NK: ArrayLike) -> CooccurrenceAgreement:
    """Compare both over the pairs that have a correlation in both; NaN without one."""
    first, second = pair_correlations(probabilities_NK), pair_correlations(labels_NK)
    defined = ~(np.isnan(first) | np.isnan(second))
    first, second = first[defined], second[defined]
    if not defined.any():
        return CooccurrenceAgreement(probabilities=np.nan, labels=np.nan, pattern=np.nan)
    varies = len(first) > 2 and bool(np.ptp(first) and np.ptp(second))
    pattern = float(np.corrcoef(first, second)[0, 1]) if varies else np.nan
    return CooccurrenceAgreement(probabilities=float(np.abs(first).mean()), labels=float(np.abs(second).mean()), pattern=pattern)

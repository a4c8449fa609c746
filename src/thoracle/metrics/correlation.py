"""Correlate ranks, with weights of bootstrap draws.

Shapes: N scans, R draws.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from thoracle.types import FloatArray


def spearman(first_N: ArrayLike, second_N: ArrayLike, *, weights_RN: ArrayLike | None = None) -> FloatArray:
    """Compute Spearman's rank correlation, ties by midranks.

    Args:
        first_N, second_N: finite values.
        weights_RN: how often each scan counts in each draw.

    Returns:
        (R,), or () without weights; NaN where either has one value only.
    """
    first, second = np.asarray(first_N, np.float64), np.asarray(second_N, np.float64)
    weights = np.ones((1, len(first))) if weights_RN is None else np.asarray(weights_RN, np.float64)
    count = weights.sum(axis=1, keepdims=True)
    ranks = [_midranks(values, weights) for values in (first, second)]
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (rank - (weights * rank).sum(axis=1, keepdims=True) / count for rank in ranks)
        correlation = (weights * a * b).sum(axis=1) / np.sqrt((weights * a**2).sum(axis=1) * (weights * b**2).sum(axis=1))
    return np.asarray(correlation[0] if weights_RN is None else correlation)


def _midranks(values_N: FloatArray, weights_RN: FloatArray) -> FloatArray:
    """Rank each scan among the scans of each draw, (R, N)."""
    if not len(values_N):
        return np.zeros_like(weights_RN)
    order = np.argsort(values_N, kind="stable")
    ordered = values_N[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    tied_RG = np.add.reduceat(weights_RN[:, order], starts, axis=1)
    ranks_RG = np.cumsum(tied_RG, axis=1) - tied_RG + (tied_RG + 1) / 2
    groups = np.empty(len(values_N), np.intp)
    groups[order] = np.repeat(np.arange(len(starts)), np.diff([*starts, len(values_N)]))
    ranks: FloatArray = ranks_RG[:, groups]
    return ranks

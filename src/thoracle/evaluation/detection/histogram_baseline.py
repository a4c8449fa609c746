"""Fit a shortcut baseline: logistic regression on a scan's HU histogram, which a model must beat to have learned anything spatial.

Reads no file. Shapes: N scans, B features of a histogram, K labels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from thoracle.types import FloatArray

#: HU; fine where tissues are, coarse where only metal is.
EDGES: Final = np.concatenate(
    [
        np.arange(-1030, -800, 15),
        np.arange(-800, -160, 40),
        np.arange(-160, 120, 15),
        np.arange(120, 400, 40),
        (450, 550, 700, 900, 1200, 3072),
    ]
)
_LOWEST, _HIGHEST = -1024, 3071
#: Of each HU from the lowest, the bin.
_BIN: Final = np.searchsorted(EDGES, np.arange(_LOWEST, _HIGHEST + 1), side="right") - 1
#: Of the logistic regression; the strongest of 0.003, 0.01 and 0.1 over phantoms.
_STRENGTH: Final = 0.01


def histogram(hu: NDArray[np.int16]) -> FloatArray:
    """Return (B,): log counts of voxels in `EDGES`, and their fractions."""
    voxels = np.bincount(hu.ravel().clip(_LOWEST, _HIGHEST).astype(np.int64) - _LOWEST, minlength=_HIGHEST - _LOWEST + 1)
    counts = np.bincount(_BIN, weights=voxels, minlength=len(EDGES) - 1)
    return np.concatenate([np.log1p(counts), counts / counts.sum()])


def histogram_probabilities(train_NB: FloatArray, labels_NK: FloatArray, others_NB: FloatArray) -> FloatArray:
    """Predict (N, K) probabilities by a logistic regression per label.

    Args:
        train_NB: histograms that are learnt from.
        labels_NK: their labels, 0 or 1, both of them in each column.
        others_NB: histograms of scans that are scored.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train_NB)
    train, others = scaler.transform(train_NB), scaler.transform(others_NB)
    models = [LogisticRegression(C=_STRENGTH, max_iter=3000).fit(train, column) for column in labels_NK.T]
    return np.stack([model.predict_proba(others)[:, 1] for model in models], axis=1)

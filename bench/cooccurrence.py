"""Prevalences and tetrachoric correlations of the 18 labels in a table of real label rows, as `phantom/cooccurrence.json` holds them.

    python bench/cooccurrence.py ../shared/data/reports/ctclip_train.csv src/thoracle/phantom/cooccurrence.json

Only these numbers leave the table: 18 shares and 153 correlations of a latent Gaussian, mended to be positive definite.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import multivariate_normal

from thoracle.types import ABNORMALITIES


def both_positive(threshold_a: float, threshold_b: float, correlation: float) -> float:
    """P(a > threshold_a, b > threshold_b) of a standard bivariate Gaussian."""
    covariance = [[1, correlation], [correlation, 1]]
    return float(multivariate_normal(mean=[0, 0], cov=covariance).cdf([-threshold_a, -threshold_b]))


def tetrachoric(a: np.ndarray, b: np.ndarray) -> float:
    """The latent correlation that gives the observed share of both; half a row is added to each cell against zeros."""
    n = len(a) + 2
    share_a, share_b, both = ((x.sum() + y) / n for x, y in ((a, 1), (b, 1), (a & b, 0.5)))
    ta, tb = -ndtri(share_a), -ndtri(share_b)
    return float(brentq(lambda r: both_positive(ta, tb, r) - both, -0.95, 0.95, xtol=1e-4))


def nearest_correlation(matrix: np.ndarray, smallest: float = 0.02) -> np.ndarray:
    """Eigenvalues raised to `smallest`, diagonal back to 1."""
    values, vectors = np.linalg.eigh(matrix)
    mended = vectors @ np.diag(np.maximum(values, smallest)) @ vectors.T
    scale = 1 / np.sqrt(np.diag(mended))
    return mended * scale[:, None] * scale[None, :]


def main(table: Path, out: Path) -> None:
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = np.array([[int(row[name]) for name in ABNORMALITIES] for row in rows], dtype=bool)
    matrix = np.eye(len(ABNORMALITIES))
    for i in range(len(matrix)):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = tetrachoric(labels[:, i], labels[:, j])
    mended = nearest_correlation(matrix)
    print(f"{len(rows)} rows; smallest eigenvalue {np.linalg.eigvalsh(matrix)[0]:.3f}; largest mending {np.abs(mended - matrix).max():.3f}")
    lower = [[round(float(mended[i, j]), 3) for j in range(i)] for i in range(len(mended))]
    facts = {"prevalence": [round(float(p), 5) for p in labels.mean(0)], "correlation_below_diagonal": lower}
    lines = ",\n    ".join(json.dumps(row) for row in lower)
    text = f'{{\n  "prevalence": {json.dumps(facts["prevalence"])},\n  "correlation_below_diagonal": [\n    {lines}\n  ]\n}}\n'
    out.write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

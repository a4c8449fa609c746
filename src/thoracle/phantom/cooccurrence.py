"""Sample the abnormalities of a scan from fractions and correlations of 800 real CT-RATE label rows.

Labels are signs of a Gaussian vector against thresholds (a multivariate probit). `cooccurrence.json` holds its shares and tetrachoric
correlations, computed by `bench/cooccurrence.py`; no row is kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from thoracle.phantom.anatomy.patient import Rng
from thoracle.types import ABNORMALITIES

#: How much of one visit's latent vector is left at the patient's next.
_PERSISTENCE = 0.8


@dataclass(frozen=True, kw_only=True, eq=False)
class Cooccurrence:
    """Hold `prevalence` (18,) and `correlation` (18, 18) of the latent Gaussian, both in the order of `ABNORMALITIES`."""

    prevalence: NDArray[np.float64]
    correlation: NDArray[np.float64]


@cache
def real_cooccurrence() -> Cooccurrence:
    """Load the stored table."""
    stored = json.loads(files("thoracle.phantom").joinpath("cooccurrence.json").read_text())
    matrix = np.eye(len(ABNORMALITIES))
    for i, row in enumerate(stored["correlation_below_diagonal"]):
        matrix[i, :i] = matrix[:i, i] = row
    return Cooccurrence(prevalence=np.array(stored["prevalence"]), correlation=matrix)


def sample_labels(rng: Rng, visits: int) -> NDArray[np.bool_]:
    """Sample (visits, 18): labels of one patient's scans. Each visit follows the table; neighbours resemble each other."""
    table = real_cooccurrence()
    root = np.linalg.cholesky(table.correlation)
    latent = np.zeros((visits, len(ABNORMALITIES)))
    for visit in range(visits):
        fresh = root @ rng.standard_normal(len(ABNORMALITIES))
        latent[visit] = fresh if visit == 0 else _PERSISTENCE * latent[visit - 1] + np.sqrt(1 - _PERSISTENCE**2) * fresh
    return np.asarray(latent > -ndtri(table.prevalence))

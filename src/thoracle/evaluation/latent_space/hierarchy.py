"""Measure what the clusters of a tree over latents are clusters of: the number of findings, or which they are.

Shapes: N scans, K values, C clusters, R draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from thoracle.evaluation.detection.summary import mean_of_known
from thoracle.evaluation.latent_space.measures import findings_count
from thoracle.metrics.bootstrap import RESAMPLES, Interval, estimate
from thoracle.types import FloatArray

#: Clusters that the tree is cut into, from its top down.
CUTS: Final = (2, 4, 8, 16)
#: A variance below is rounding.
_LEAST: Final = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Hierarchy:
    """Hold the share of variance that lies between the clusters of a tree, by their number; 0 is what chance gives.

    Attributes:
        number: of the number of findings.
        findings: of whether a finding is present, mean over findings.
    """

    number: Mapping[int, Interval]
    findings: Mapping[int, Interval]


def measure_hierarchy(
    image_NL: FloatArray, *, truth_NK: FloatArray, patients: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> Hierarchy:
    """Build a tree by Ward's method, and measure each of its `CUTS`; the tree stays as it is in all draws.

    Args:
        image_NL: latents.
        truth_NK: 1, 0, NaN.
        patients: of the N scans.
        resamples, seed: of the draws.
    """
    tree = linkage(image_NL, "ward")
    cuts = [fcluster(tree, count, "maxclust") for count in CUTS]
    number_N1 = findings_count(truth_NK)[:, None]

    def measures(weights_RN: FloatArray) -> FloatArray:
        columns = []
        for clusters_N in cuts:
            columns += [mean_of_known(explained(values, clusters_N, weights_RN)) for values in (number_N1, truth_NK)]
        return np.stack(columns, axis=1)

    intervals = estimate(measures, patients, resamples=resamples, seed=seed)
    return Hierarchy(number=dict(zip(CUTS, intervals[::2], strict=True)), findings=dict(zip(CUTS, intervals[1::2], strict=True)))


def explained(values_NK: FloatArray, clusters_N: NDArray[np.integer], weights_RN: FloatArray) -> FloatArray:
    """Compute the share of each value's variance between clusters, adjusted for their number (epsilon squared), (R, K).

    Variances are over pairs of two scans: copies of one scan in a draw would make clusters look tighter than they are. NaN where a value
    does not vary, or no two scans share a cluster.
    """
    members_NC = (np.unique(clusters_N)[None] == clusters_N[:, None]).astype(np.float64)
    shares = []
    for values_N in values_NK.T:
        known_N = ~np.isnan(values_N)
        weights, values = weights_RN * known_N, np.nan_to_num(values_N)
        within, overall = _variance(values, weights, members_NC), _variance(values, weights, np.ones((len(values), 1)))
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(overall > _LEAST, 1 - within / overall, np.nan)
        shares.append(np.where(np.isfinite(share), share, np.nan))
    return np.stack(shares, axis=1)


def _variance(values_N: FloatArray, weights_RN: FloatArray, members_NC: FloatArray) -> FloatArray:
    """Compute the variance within clusters, (R,), unbiased by copies."""
    count_RC, sum_RC, copies_RC = weights_RN @ members_NC, (weights_RN * values_N) @ members_NC, weights_RN**2 @ members_NC
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = weights_RN @ values_N**2 - np.where(count_RC > 0, sum_RC**2 / count_RC, 0.0).sum(axis=1)
        return np.asarray(squares / (count_RC - np.where(count_RC > 0, copies_RC / count_RC, 0.0)).sum(axis=1))

"""Score a map over patches against the fraction of each patch that a finding fills.

Shapes: T slices of patches; P patches in all, of the same number of voxels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from thoracle.types import FloatArray

#: In the order of `localization_scores`.
METRICS: Final = ("pointing", "dice", "auprc", "strongest slice", "slice auroc")


def localization_scores(map_THW: NDArray[np.floating], fraction_THW: FloatArray) -> FloatArray:
    """Compute pointing, Dice and AUPRC of a map over voxels; then, over axial slices of patches, whether the strongest holds the finding,
    and AUROC.

    Each voxel has its patch's value, so that the first three are exact for the map and blind below a patch. Pointing is 1 where the patch
    with the highest value holds some of the finding (Zhang et al., arXiv:1608.00507). Dice takes as many voxels, the highest first, as the
    finding has: it needs no threshold. AUPRC is average precision. A slice is as strong as the sum of what is positive in it, by which
    `explain` orders slices.

    Args:
        map_THW: slices along its first axis; higher means more likely the finding.
        fraction_THW: fraction of each patch that is the finding, in the same shape; some must be above 0.

    Returns:
        (5,) in the order of `METRICS`; AUROC is NaN where every slice holds the finding.
    """
    values, slices = map_THW.astype(np.float64), len(map_THW)
    strengths_T = np.maximum(values, 0).reshape(slices, -1).sum(axis=1)
    holds_T = fraction_THW.reshape(slices, -1).max(axis=1) > 0
    return np.concatenate([_patch_scores(values.ravel(), fraction_THW.ravel()), _slice_scores(strengths_T, holds_T)])


def _patch_scores(values_P: FloatArray, fractions_P: FloatArray) -> FloatArray:
    order = np.argsort(-values_P)  # in any order among ties, which count together
    sorted_values = values_P[order]
    last = np.flatnonzero(np.append(sorted_values[1:] != sorted_values[:-1], True))  # of each group of ties
    hits = np.cumsum(fractions_P[order])[last]
    depth = last + 1.0
    size = fractions_P.sum()
    highest = fractions_P[values_P == sorted_values[0]]
    dice = np.interp(size, np.append(0.0, depth), np.append(0.0, hits)) / size
    auprc = (np.diff(hits, prepend=0.0) * hits / depth).sum() / size
    return np.array([(highest > 0).mean(), dice, auprc])


def _slice_scores(strengths_T: FloatArray, holds_T: NDArray[np.bool_]) -> FloatArray:
    strongest = holds_T[strengths_T == strengths_T.max()].mean()
    difference = strengths_T[holds_T][:, None] - strengths_T[~holds_T]
    return np.array([strongest, ((np.sign(difference) + 1) / 2).mean() if difference.size else np.nan])

"""Score a map over patches against the fraction of each patch that a finding fills.

Shapes: P patches, all of the same number of voxels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from thoracle.types import FloatArray

#: In the order of `localization_scores`.
METRICS: Final = ("pointing", "dice", "auprc")


def localization_scores(map_P: NDArray[np.floating], fraction_P: FloatArray) -> FloatArray:
    """Compute pointing, Dice and AUPRC of a map over voxels.

    Each voxel has its patch's value, so all three are exact for the map and blind below a patch. Pointing is 1 where the patch with the
    highest value holds some of the finding (Zhang et al., arXiv:1608.00507). Dice takes as many voxels, the highest first, as the finding
    has: it needs no threshold. AUPRC is average precision.

    Args:
        map_P: any shape of P values; higher means more likely the finding.
        fraction_P: fraction of each patch that is the finding, in the same shape; some must be above 0.

    Returns:
        (3,) in the order of `METRICS`.
    """
    values, fractions = np.ravel(map_P).astype(np.float64), np.ravel(fraction_P)
    order = np.argsort(-values, kind="stable")
    sorted_values = values[order]
    last = np.flatnonzero(np.append(sorted_values[1:] != sorted_values[:-1], True))  # of each group of ties
    hits = np.cumsum(fractions[order])[last]
    depth = last + 1.0
    size = fractions.sum()
    highest = fractions[values == sorted_values[0]]
    dice = np.interp(size, np.append(0.0, depth), np.append(0.0, hits)) / size
    auprc = (np.diff(hits, prepend=0.0) * hits / depth).sum() / size
    return np.array([(highest > 0).mean(), dice, auprc])

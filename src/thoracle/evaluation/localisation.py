"""How well a map over patches says where a finding is, and maps that know nothing of it; knows arrays, no model and no file.

Shapes: P patches, all of the same number of voxels; T h w token grid.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from thoracle.ct.preprocess import PreprocessConfig
from thoracle.ct.quality import lung_cells
from thoracle.types import ModelInput

Array = NDArray[np.float64]
#: In the order of `localise`.
METRICS: Final = ("pointing", "dice", "auprc")
#: Random maps whose scores are averaged.
_RANDOM_MAPS: Final = 16


def localise(map_P: NDArray[np.floating], share_P: Array) -> Array:
    """(3,) of `METRICS`, over voxels: each has its patch's value, so that all three are exact for the map and blind below a patch.

    Pointing is 1 where the patch with the highest value holds some of the finding (Zhang et al., arXiv:1608.00507). Dice is of as many
    voxels, the highest first, as the finding has: no threshold is chosen, for no map. AUPRC is average precision.

    Args:
        map_P: higher says sooner that the finding is there.
        share_P: of each patch that is the finding; some must be.
    """
    values, share = np.ravel(map_P).astype(np.float64), np.ravel(share_P)
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of each group of ties
    hits = np.cumsum(share[order])[last]
    taken = last + 1.0
    size = share.sum()
    tied = share[values == ranked[0]]
    dice = np.interp(size, np.append(0.0, taken), np.append(0.0, hits)) / size
    auprc = (np.diff(hits, prepend=0.0) * hits / taken).sum() / size
    return np.array([(tied > 0).mean(), dice, auprc])


def random_score(share_P: Array, *, seed: list[int]) -> Array:
    """(3,): `localise` of maps of independent noise, averaged over several."""
    random = np.random.default_rng(seed)
    scores = np.stack([localise(random.random(share_P.size), share_P) for _ in range(_RANDOM_MAPS)])
    return np.asarray(scores.mean(axis=0))


def centre_of_lung(array_ZXY: ModelInput, preprocess: PreprocessConfig, grid: tuple[int, int, int]) -> Array:
    """(T, h, w): how near each patch is to the middle of the nearer lung; to the middle of the scan where no lung is found."""
    spacing = (preprocess.spacing[1], preprocess.spacing[2], preprocess.spacing[0])
    hu = np.ascontiguousarray(array_ZXY.transpose(1, 2, 0)) * np.float32(preprocess.intensity_scale)
    lung, cell = lung_cells(hu, spacing)
    places = (np.argwhere(lung) + 0.5) * cell  # mm (x, y, z) from the array's corner
    if len(places):
        left = places[:, 0] > np.median(places[:, 0])
        middles = np.stack([places[side].mean(axis=0) for side in (left, ~left) if side.any()])
    else:
        middles = np.array([[n * mm / 2 for n, mm in zip(hu.shape, spacing, strict=True)]])
    widths = [n * mm / tokens for n, mm, tokens in zip(array_ZXY.shape, preprocess.spacing, grid, strict=True)]
    z, x, y = np.meshgrid(*((np.arange(tokens) + 0.5) * width for tokens, width in zip(grid, widths, strict=True)), indexing="ij")
    away = np.linalg.norm(np.stack([x, y, z], axis=-1)[..., None, :] - middles, axis=-1).min(axis=-1)
    nearness: Array = -away
    return nearness

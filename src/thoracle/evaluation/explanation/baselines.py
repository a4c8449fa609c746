"""Make saliency maps that know nothing of a finding, which a model's maps must beat.

Shapes: T h w token grid.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from thoracle.ct.chest.lungs import lung_cells
from thoracle.ct.preprocess import Preprocessing, to_hounsfield
from thoracle.ct.recipes.orientation import ZXY, reorder, view_as
from thoracle.metrics.localization import localization_scores
from thoracle.types import FloatArray, ModelInput

#: Random maps whose scores are averaged.
_RANDOM_MAPS: Final = 16


def random_score(fraction_THW: FloatArray, *, seed: list[int]) -> FloatArray:
    """Average the scores of maps of independent noise.

    Args:
        fraction_THW: fraction of each patch that is the finding.
        seed: of the noise.

    Returns:
        (5,) in the order of `METRICS`.
    """
    random = np.random.default_rng(seed)
    scores = np.stack([localization_scores(random.random(fraction_THW.shape), fraction_THW) for _ in range(_RANDOM_MAPS)])
    return np.asarray(scores.mean(axis=0))


def lung_centre_baseline(
    array: ModelInput, preprocess: Preprocessing, grid: tuple[int, int, int], *, spacing: tuple[float, float, float]
) -> FloatArray:
    """Map each patch to its nearness to the middle of the nearer lung; of the scan where no lung is found. The farthest has 0.

    Args:
        array: a model's input.
        preprocess: of that input.
        grid: patches along z, x and y.
        spacing: mm a voxel of the input along these.

    Returns:
        (T, h, w) in mm.
    """
    hu = to_hounsfield(np.ascontiguousarray(view_as(array, preprocess.axes, "LPS")), preprocess)
    spacing_xyz = reorder(spacing, ZXY, "LPS")
    lung, cell = lung_cells(hu, spacing_xyz)
    points = (np.argwhere(lung) + 0.5) * cell  # mm (x, y, z) from the array's corner
    if len(points):
        left = points[:, 0] > np.median(points[:, 0])
        centres = np.stack([points[side].mean(axis=0) for side in (left, ~left) if side.any()])
    else:
        centres = np.array([[n * mm / 2 for n, mm in zip(hu.shape, spacing_xyz, strict=True)]])
    widths = [n * mm / tokens for n, mm, tokens in zip(reorder(hu.shape, "LPS", ZXY), spacing, grid, strict=True)]
    z, x, y = np.meshgrid(*((np.arange(tokens) + 0.5) * width for tokens, width in zip(grid, widths, strict=True)), indexing="ij")
    distance = np.linalg.norm(np.stack([x, y, z], axis=-1)[..., None, :] - centres, axis=-1).min(axis=-1)
    nearness: FloatArray = distance.max() - distance
    return nearness

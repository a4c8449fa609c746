"""A few slices of a scan as one small PNG, as radiologists hang them."""

from __future__ import annotations

from typing import Final

import numpy as np

from thoracle.ct.preprocess import Preprocessing, to_hounsfield
from thoracle.ct.recipes.orientation import ZXY, reorder, view_as
from thoracle.ct.slice_pictures import fit_slice, grey_levels, png
from thoracle.types import ModelInput

_SIDE: Final = 96  # pixels of each slice
_LUNG: Final = (-1350.0, 150.0)  # HU, black to white
_LEVELS: Final = (0.65, 0.5, 0.35)  # of the height, axial; then a coronal slice through the middle


def contact_strip(volume: ModelInput, preprocess: Preprocessing) -> bytes:
    """Draw three axial slices and a coronal one, side by side, patient left on the right, in a lung window.

    Args:
        volume: a model's input.
        preprocess: of that input. Where it gives voxels no size of their own, they are drawn as cubes.
    """
    view_ZXY = view_as(volume, preprocess.axes, ZXY)
    z, x, y = (1.0, 1.0, 1.0) if preprocess.spacing is None else reorder(preprocess.spacing, preprocess.axes, ZXY)
    axial = [fit_slice(view_ZXY[int(level * (len(view_ZXY) - 1))].T, (y, x), side=_SIDE) for level in _LEVELS]
    coronal = fit_slice(view_ZXY[::-1, :, view_ZXY.shape[2] // 2], (z, x), side=_SIDE)
    return png(grey_levels(to_hounsfield(np.concatenate([*axial, coronal], axis=1), preprocess), _LUNG))

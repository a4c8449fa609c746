"""Map where in a scan a finding is believed to lie, by evidence that is read place by place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from thoracle.ct.recipes.orientation import ZXY, view_as
from thoracle.inference.model import Model, VolumeInput
from thoracle.models.encoder import Capability


def region_maps(model: Model, volume: VolumeInput, *, abnormalities: Sequence[str] | None = None) -> NDArray[np.float32]:
    """Compute (K, T, h, w), at least 0 and in no unit, on a grid over the model's input: 0 outside the frame of the chest.

    Maps lie along (z, x, y), whatever the axes of the input are.

    Args:
        model: has `Capability.REGIONS`.
        volume: as `Model.read_regions` takes it.
        abnormalities: labels of the model; all of them by default.

    Raises:
        As `Model.read_regions`, and InputError for a label that the model was not fitted to.
    """
    model.require(Capability.REGIONS)
    columns = model.label_columns(abnormalities)
    maps_BKTHW = model.read_regions(volume).maps_BKTHW
    maps: NDArray[np.float32] = maps_BKTHW[0, columns].float().cpu().numpy()
    return view_as(maps, model.preprocess.axes, ZXY)

"""Prepare a scan's volume as a model's input, with warnings for its user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thoracle.ct.chest.input_box import InputBox, input_box
from thoracle.ct.chest.quality import assess
from thoracle.ct.preprocess import Preprocessing, preprocess
from thoracle.ct.recipes.orientation import scan_axes
from thoracle.ct.recipes.recipe import Recipe
from thoracle.ct.volume import Provenance, Volume
from thoracle.errors import InputError, OutsideIntendedUse
from thoracle.types import ModelInput


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedVolume:
    """Hold a model's input as its preprocessing gives it, its provenance, warnings, and where the chest is in it, if that is known."""

    array: ModelInput
    provenance: Provenance | None
    warnings: tuple[str, ...]
    box: InputBox | None = None

    def input_array(self, config: Preprocessing) -> ModelInput:
        """Return the array, which must be of the size that a model takes.

        Raises:
            InputError: it is of another.
        """
        if not config.takes(self.array.shape):
            tiles = "whole tiles of " if config.varies else ""
            raise InputError(
                f"expected a preprocessed volume of shape {tiles}{config.size}, got {self.array.shape}",
                hint="Give a Volume, or what thoracle.preprocess(volume, model.preprocess) gives.",
            )
        return self.array

    def lungs_box(self) -> InputBox:
        """Return the box of the lungs, by which places of the chest are told.

        Raises:
            OutsideIntendedUse: no lungs were found.
        """
        if self.box is None or self.box.encloses != "lungs":
            hint = "Give a scan of the chest, or a model that reads no regions."
            raise OutsideIntendedUse("no lungs were found, by which places of the chest are told", hint=hint)
        return self.box

    def frame_warnings(self) -> tuple[str, ...]:
        """Say that places are told from a part of the lungs, where the scan ends before they do."""
        if self.box is None or not self.box.cut:
            return ()
        return (
            f"Places are told from a part of the lungs, which are cut at {', '.join(self.box.cut)}: what is read there may be shifted.",
        )


def prepared_array(array: ModelInput | Tensor) -> PreparedVolume:
    """Take an array as it is, preprocessed already; where the chest is in it nobody knows."""
    values = array.detach().cpu().numpy() if isinstance(array, Tensor) else array
    return PreparedVolume(array=np.ascontiguousarray(values, dtype=np.float32), provenance=None, warnings=())


def prepare(volume: Volume, config: Preprocessing, *, strict: bool = False) -> PreparedVolume:
    """Judge and preprocess one volume.

    Args:
        volume: as read.
        config: the model's own.
        strict: refuse what would only be warned of.

    Raises:
        OutsideIntendedUse: strict, and there is something to warn of.
    """
    quality = assess(volume)
    warnings = (*quality.warnings, *_tile_warnings(volume, config))
    if strict and warnings:
        raise OutsideIntendedUse("; ".join(warning.rstrip(".") for warning in warnings), hint="Leave --strict out to go on with a warning.")
    box = None if quality.box is None else input_box(quality.box, volume, config)
    return PreparedVolume(array=preprocess(volume, config), provenance=volume.provenance, warnings=warnings, box=box)


def stack_inputs(volumes: Sequence[PreparedVolume], config: Preprocessing, *, device: torch.device) -> Tensor:
    """Stack volumes as a model's input (B, 1, …) on its device.

    Raises:
        InputError: one is of another size than the model takes, or, where each has its own, than another.
    """
    arrays = [torch.from_numpy(volume.input_array(config))[None, None].to(device) for volume in volumes]
    shapes = sorted({tuple(array.shape[2:]) for array in arrays})
    if len(shapes) > 1:
        detail = f"scans of {shapes[0]} and {shapes[1]} voxels cannot be encoded at once: this model reads each at its own size"
        raise InputError(detail, hint="Set the batch size to 1.")
    return torch.cat(arrays) if len(arrays) > 1 else arrays[0]


def _tile_warnings(volume: Volume, config: Preprocessing) -> tuple[str, ...]:
    """Say that a scan is smaller than what its model reads at a time."""
    if not isinstance(config, Recipe) or not config.varies:
        return ()
    sides = [volume.array.shape[axis] for axis in scan_axes(config.axes)]
    if all(side >= tile for side, tile in zip(sides, config.size, strict=True)):
        return ()
    return (f"The scan has {tuple(sides)} voxels, less than one tile of {config.size}: it is padded, which the model was not trained on.",)

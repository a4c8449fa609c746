"""Prepare a scan's volume as a model's input, with warnings for its user."""

from __future__ import annotations

from dataclasses import dataclass

from thoracle.ct.chest.quality import assess
from thoracle.ct.preprocess import PreprocessConfig, preprocess
from thoracle.ct.volume import Provenance, Volume
from thoracle.errors import OutsideIntendedUse
from thoracle.types import ModelInput


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedVolume:
    """Hold a model's input (z, x, y) in units of 1000 HU, its provenance, and warnings."""

    array: ModelInput
    provenance: Provenance | None
    warnings: tuple[str, ...]


def prepare(volume: Volume, config: PreprocessConfig, *, strict: bool = False) -> PreparedVolume:
    """Judge and preprocess one volume.

    Args:
        volume: as read.
        config: the model's own.
        strict: refuse what would only be warned of.

    Raises:
        OutsideIntendedUse: strict, and there is something to warn of.
    """
    warnings = assess(volume).warnings
    if strict and warnings:
        raise OutsideIntendedUse("; ".join(warning.rstrip(".") for warning in warnings), hint="Leave --strict out to go on with a warning.")
    return PreparedVolume(array=preprocess(volume, config), provenance=volume.provenance, warnings=warnings)

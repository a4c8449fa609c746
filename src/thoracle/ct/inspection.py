"""Describe a scan that was read, and its quality, as a JSON document."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from thoracle.ct.chest.quality import Quality
from thoracle.ct.volume import Volume
from thoracle.types import RESEARCH_USE
from thoracle.version import __version__

#: A change that breaks readers of the JSON takes the next number.
SCHEMA: Final = "thoracle.inspection/1"


def inspection_json(volume: Volume, quality: Quality) -> dict[str, Any]:
    """Build the inspection document, which holds no path and no identifier.

    Returns:
        Plain JSON types, tuples among them.
    """
    return {
        "schema": SCHEMA,
        "notice": RESEARCH_USE,
        "thoracle": __version__,
        "volume": {
            "shape": volume.array.shape,
            "spacing_mm": volume.spacing,
            "extent_mm": extent_mm(volume),
            "dtype": str(volume.array.dtype),
        },
        "quality": asdict(quality),
        "provenance": volume.provenance.as_dict(),
    }


def extent_mm(volume: Volume) -> tuple[float, ...]:
    """Measure the volume along x, y and z, in mm to the tenth."""
    return tuple(round(length * step, 1) for length, step in zip(volume.array.shape, volume.spacing, strict=True))

"""Define a volume: Hounsfield units in LPS order, and where they came from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from thoracle.types import Affine, HounsfieldArray, Spacing


@dataclass(frozen=True, kw_only=True)
class HounsfieldSource:
    """Record how stored numbers became Hounsfield units: `hu = slope * stored + intercept`.

    `source` names the field the two numbers came from, or "stored" when the file already held HU.
    `evidence` says in a sentence what in the voxels supports it; `ignored_rescales` lists what was declared and left out.
    """

    slope: float
    intercept: float
    source: str
    evidence: str
    ignored_rescales: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Record where a volume came from, without path or identifier, so that it may be written anywhere.

    `sha256` is over the bytes of the file (of a series: over its files' hashes in slice order).
    `geometry` names the fields that gave spacing and orientation; `notes` lists what was changed on the way.
    """

    sha256: str
    format: str
    hounsfield: HounsfieldSource
    geometry: str
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class HeaderTags:
    """Hold header fields that Thoracle warns about; None where the header is silent. Never written out, but for `warnings`: sentences."""

    contrast: bool | None = None
    age_years: float | None = None
    body_part: str | None = None
    kernel: str | None = None
    modality: Literal["CT"] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """Hold one CT scan.

    Attributes:
        array: (x, y, z) Hounsfield units, int16 or float32; indices grow towards patient left, posterior, superior.
        spacing: millimetres a voxel along x, y, z.
        affine: (4, 4) voxel index to LPS millimetres; diagonal and positive but for the offset.
        provenance: where the voxels, their units and their places came from.
        tags: what the header says of contrast agent, age and body part.
    """

    array: HounsfieldArray
    spacing: Spacing
    affine: Affine
    provenance: Provenance
    tags: HeaderTags = field(default_factory=HeaderTags)

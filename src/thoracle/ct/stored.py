"""Hold what a reader of one format returns: voxels as stored, before units and orientation are resolved."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from thoracle.ct.volume import HeaderTags
from thoracle.types import Affine, StoredArray


@dataclass(frozen=True, kw_only=True)
class Rescale:
    """Hold `hu = slope * stored + intercept` and the field that states it ("RescaleSlope/RescaleIntercept", "scl_slope/scl_inter", …)."""

    slope: float
    intercept: float
    source: str


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredScan:
    """Hold one scan as its file stores it.

    Attributes:
        voxels: (i, j, k) in the order of the affine's columns; a real integer or float type in native byte order, any memory layout.
        affine: voxel index to LPS millimetres; None where the header does not say (then `geometry` tells why).
        geometry: the header fields that gave the affine, or why there is none.
        blank: the header's affine where it is what writers put when nobody has set one (`geometry.header.is_blank`): only a metadata row
            can confirm it, and `affine` is None.
        rescale: what the file declares about its units and nobody has applied yet; None where it is silent.
        format: "NIfTI-1", "NRRD", "DICOM series", …
        sha256: see `Provenance`.
        padding: voxels outside the scanned field, which become air whatever the units; None where the file declares none.
    """

    voxels: StoredArray
    affine: Affine | None
    geometry: str
    rescale: Rescale | None
    format: str
    sha256: str
    tags: HeaderTags = field(default_factory=HeaderTags)
    repaired: tuple[str, ...] = ()
    padding: NDArray[np.bool_] | None = None
    blank: Affine | None = None

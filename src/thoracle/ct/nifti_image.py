"""Write arrays as NIfTI images."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip

from thoracle.types import RESEARCH_USE, Affine


def to_nifti(values_XYZ: np.ndarray[Any, Any], affine: Affine) -> bytes:
    """Write a `.nii.gz`, so that any viewer overlays it; `affine` is (4, 4), from an index to LPS millimetres."""
    affine_ras = to_ras(affine)
    make: Any = nib.Nifti1Image  # nibabel is typed in part
    image = make(values_XYZ, affine_ras)
    image.set_sform(affine_ras, code=1)
    image.set_qform(affine_ras, code=1)
    image.header["descrip"] = RESEARCH_USE.encode()
    return bytes(igzip.compress(image.to_bytes(), 1, mtime=0))


def to_ras(affine: Affine) -> Affine:
    """Turn an affine to LPS millimetres into one to RAS, NIfTI's."""
    turned: Affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    return turned

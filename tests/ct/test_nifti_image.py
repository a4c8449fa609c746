from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from thoracle.ct.nifti_image import to_nifti, to_ras
from thoracle.types import RESEARCH_USE

AFFINE = np.array([[1.0, 0, 0, -100], [0, 2, 0, -50], [0, 0, 3, 30], [0, 0, 0, 1]])


def test_the_image_lies_in_ras_millimetres_and_says_what_it_is_for(tmp_path: Path) -> None:
    (tmp_path / "heat.nii").write_bytes(gzip.decompress(to_nifti(np.zeros((5, 6, 7), np.float32), AFFINE)))
    image = nib.load(tmp_path / "heat.nii")
    np.testing.assert_allclose(image.affine @ (1, 1, 1, 1), (100 - 1, 50 - 2, 30 + 3, 1))
    assert RESEARCH_USE.encode() in bytes(image.header["descrip"])


def test_lps_becomes_ras_by_the_signs_of_two_axes() -> None:
    np.testing.assert_array_equal(to_ras(AFFINE), [[-1, 0, 0, 100], [0, -2, 0, 50], [0, 0, 3, 30], [0, 0, 0, 1]])

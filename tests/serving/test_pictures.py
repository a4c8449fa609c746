"""Slices hang as radiologists hang them, and a preview's voxels are the scan's own, in its millimetres."""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from thoracle.ct.volume import HounsfieldSource, Provenance, Volume
from thoracle.errors import InputError
from thoracle.serving.pictures import preview_affine, slice_png, volume_nifti
from thoracle.serving.work.scan_folder import save_volume, volume_facts

#: One bright voxel at patient left (x high), posterior (y high), superior (z high) of air.
AT = (9, 8, 12)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    array = np.full((11, 10, 14), -1000, np.int16)
    array[AT] = 400
    source = HounsfieldSource(slope=1, intercept=0, source="stored", evidence="")
    provenance = Provenance(sha256="0" * 64, format="NIfTI-1", hounsfield=source, geometry="sform")
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = (-10, -20, -30)
    save_volume(tmp_path, Volume(array=array, spacing=(1.0, 2.0, 3.0), affine=affine, provenance=provenance))
    return tmp_path


def pixels(png: bytes) -> np.ndarray:
    columns, rows = (int.from_bytes(png[at : at + 4]) for at in (16, 20))
    start = png.index(b"IDAT") + 4
    return np.frombuffer(zlib.decompress(png[start:]), np.uint8).reshape(rows, columns + 1)[:, 1:]


def brightest(folder: Path, axis: str, index: int) -> tuple[int, int]:
    image = pixels(slice_png(folder, axis, index, level=-600, width=1500))  # type: ignore[arg-type]
    assert image.max() == 255
    assert np.median(image) < 100
    row, column = np.unravel_index(int(image.argmax()), image.shape)
    return int(row), int(column)


def test_patient_left_is_on_the_right_and_the_front_and_the_head_are_up(folder: Path) -> None:
    assert brightest(folder, "axial", AT[2]) == (AT[1], AT[0])  # posterior is down, left is right
    assert brightest(folder, "coronal", AT[1]) == (13 - AT[2], AT[0])
    assert brightest(folder, "sagittal", AT[0]) == (13 - AT[2], AT[1])  # the nose would be left


@pytest.mark.parametrize(("axis", "index"), [("axial", 14), ("axial", -1), ("coronal", 10), ("sagittal", 11)])
def test_a_slice_that_is_not_there_is_refused(axis: str, index: int, folder: Path) -> None:
    with pytest.raises(InputError, match=f"no {axis} slice {index}"):
        slice_png(folder, axis, index, level=0, width=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("most", [4, 7, 256])
def test_a_preview_has_real_voxels_at_their_places(most: int, folder: Path) -> None:
    image = nib.load(volume_nifti(folder, most))
    assert max(image.shape) <= most
    assert image.get_data_dtype() == np.int16
    np.testing.assert_allclose(image.affine, preview_affine(volume_facts(folder), most))
    voxels, whole = np.asarray(image.dataobj), np.asarray(nib.load(volume_nifti(folder, 256)).dataobj)
    for index in np.ndindex(voxels.shape):
        ras = image.affine @ (*index, 1)
        x, y, z = ((-ras[0] + 10) / 1, (-ras[1] + 20) / 2, (ras[2] + 30) / 3)
        assert voxels[index] == whole[round(x), round(y), round(z)]


def test_at_full_resolution_the_bright_voxel_is_where_it_is(folder: Path) -> None:
    image = nib.load(volume_nifti(folder, 4096))
    assert np.asarray(image.dataobj)[AT] == 400
    np.testing.assert_allclose(image.affine @ (*AT, 1), (10 - 9, 20 - 16, -30 + 36, 1))

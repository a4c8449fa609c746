"""Every format through the one way in: content decides the reader, judgement has one order, one scan in many forms is one volume."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import thoracle
from thoracle.ct.read import data_names
from thoracle.errors import (
    CorruptFile,
    GeometryUnknown,
    HounsfieldUnknown,
    InputError,
    NotCT,
    ScanError,
    ScanUnreadable,
    TooFewSlices,
    UnsupportedFormat,
)
from thoracle.types import RESEARCH_USE


@pytest.fixture(scope="module")
def chest(data_dir: Path) -> thoracle.Volume:
    return thoracle.read(data_dir / "volumes" / "cip_ct-64.nrrd")


def _save_nifti(path: Path, volume: thoracle.Volume) -> Path:
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    nib.save(nib.Nifti1Image(volume.array, ras), path)
    return path


def test_one_chest_in_three_formats_is_one_volume(data_dir: Path, golden_dir: Path, chest: thoracle.Volume) -> None:
    dicom = thoracle.read(data_dir / "dicom" / "cip_ct64")
    nifti = thoracle.read(golden_dir / "preprocess" / "whole_chest_coarse.nii.gz")
    for other in (dicom, nifti):
        np.testing.assert_array_equal(other.array, chest.array)
        np.testing.assert_allclose(other.spacing, chest.spacing, rtol=1e-4)
    assert chest.array.dtype == np.int16
    assert (chest.array.min(), chest.array.max()) == (-1007, 1095)


def test_a_zip_of_a_series_is_the_series(data_dir: Path, tmp_path: Path) -> None:
    archive = tmp_path / "series.zip"
    with zipfile.ZipFile(archive, "w") as z:
        for file in sorted((data_dir / "dicom" / "cip_ct64").iterdir()):
            z.write(file, f"study/series/{file.name}")
    folder, zipped = thoracle.read(data_dir / "dicom" / "cip_ct64"), thoracle.read(archive)
    np.testing.assert_array_equal(folder.array, zipped.array)
    assert folder.provenance.sha256 == zipped.provenance.sha256


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product((False, True), repeat=3)))
def test_any_of_the_48_orders_and_flips_gives_the_same_array(
    chest: thoracle.Volume, tmp_path: Path, order: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    image = nib.Nifti1Image(chest.array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ chest.affine)
    turned = image.as_reoriented(np.array([[axis, -1 if flip else 1] for axis, flip in zip(order, flips, strict=True)]))
    nib.save(turned, tmp_path / "turned.nii")
    volume = thoracle.read(tmp_path / "turned.nii")
    np.testing.assert_array_equal(volume.array, chest.array)
    np.testing.assert_allclose(volume.affine, chest.affine, atol=1e-3)


def test_content_decides_where_the_name_is_wrong(chest: thoracle.Volume, data_dir: Path, tmp_path: Path) -> None:
    shutil.copy(data_dir / "volumes" / "cip_ct-64.nrrd", tmp_path / "scan.dcm")
    np.testing.assert_array_equal(thoracle.read(tmp_path / "scan.dcm").array, chest.array)
    _save_nifti(tmp_path / "scan.nii.gz", chest).rename(tmp_path / "scan")
    np.testing.assert_array_equal(thoracle.read(tmp_path / "scan").array, chest.array)


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("hu_stored", {"RescaleSlope": 1, "RescaleIntercept": 0, "XYSpacing": [1.5, 1.5], "ZSpacing": 1.5}),
        ("hu_stored", {"RescaleSlope": 1, "RescaleIntercept": -1024, "XYSpacing": [1.5, 1.5], "ZSpacing": 1.5}),
        ("hu_stored", {"RescaleSlope": "1", "RescaleIntercept": "-8192", "XYSpacing": "[1.5, 1.5]", "ZSpacing": "1.5"}),
        ("hu_stored", None),
        ("ctrate_v1_raw", "json"),
    ],
)
def test_ct_rate_v1_and_v2_give_one_tensor(golden_dir: Path, name: str, metadata: object) -> None:
    folder = golden_dir / "preprocess"
    expected = thoracle.preprocess(thoracle.read(folder / "hu_stored.nii.gz", metadata=folder / "hu_stored.json"))
    row = folder / f"{name}.json" if metadata == "json" else metadata
    volume = thoracle.read(folder / f"{name}.nii.gz", metadata=row)  # type: ignore[arg-type]
    np.testing.assert_array_equal(thoracle.preprocess(volume), expected)
    if isinstance(row, dict) and float(str(row["RescaleIntercept"])) != 0:
        assert any(str(row["RescaleIntercept"]) in said for said in volume.provenance.hounsfield.ignored_rescales)


def test_ct_rate_v1_without_its_row_has_no_geometry(golden_dir: Path) -> None:
    with pytest.raises(GeometryUnknown, match="metadata"):
        thoracle.read(golden_dir / "preprocess" / "ctrate_v1_raw.nii.gz")


def test_geometry_of_itks_blank_header_is_that_of_the_row(chest: thoracle.Volume, tmp_path: Path) -> None:
    """`sitk.WriteImage(sitk.GetImageFromArray(a), …)` writes diag(-1, -1, 1)."""
    path = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(chest.array, np.diag([-1.0, -1.0, 1.0, 1.0])), path)
    with pytest.raises(GeometryUnknown, match=r"--metadata FILE\.json"):
        thoracle.read(path)
    row = {"XYSpacing": list(chest.spacing[:2]), "ZSpacing": chest.spacing[2]}
    volume = thoracle.read(path, metadata=row)
    np.testing.assert_array_equal(volume.array, chest.array)
    assert volume.spacing == chest.spacing
    # The cure that the message names.
    (tmp_path / "one.json").write_text('{"XYSpacing": [1, 1], "ZSpacing": 1}')
    nib.save(nib.Nifti1Image(chest.array[::-1], np.diag([1.0, -1.0, 1.0, 1.0])), path)
    mirrored = thoracle.read(path, metadata=tmp_path / "one.json")
    np.testing.assert_array_equal(mirrored.array, chest.array)
    assert mirrored.spacing == (1.0, 1.0, 1.0)


def test_geometry_is_judged_before_slices_and_slices_before_units(chest: thoracle.Volume, tmp_path: Path) -> None:
    few = np.zeros((8, 8, 4), np.int16)
    nib.save(nib.Nifti1Image(few, np.eye(4)), tmp_path / "blank.nii")
    with pytest.raises(GeometryUnknown):
        thoracle.read(tmp_path / "blank.nii")
    nib.save(nib.Nifti1Image(few, np.diag([-0.7, -0.7, 2.0, 1.0])), tmp_path / "few.nii")
    with pytest.raises(TooFewSlices, match="4 axial slices"):
        thoracle.read(tmp_path / "few.nii")
    with pytest.raises((HounsfieldUnknown, NotCT)):
        thoracle.read(tmp_path / "few.nii", min_slices=1)
    assert thoracle.read(tmp_path / "few.nii", min_slices=1, hu="stored").array.shape == (8, 8, 4)


def test_hu_can_be_stated(golden_dir: Path) -> None:
    folder = golden_dir / "preprocess"
    row = json.loads((folder / "ctrate_v1_raw.json").read_text())
    raw = thoracle.read(folder / "ctrate_v1_raw.nii.gz", metadata=row, hu="stored")
    rescaled = thoracle.read(folder / "ctrate_v1_raw.nii.gz", metadata=row, hu="rescale")
    np.testing.assert_array_equal(raw.array.astype(int) - 1024, rescaled.array)
    with pytest.raises(InputError, match="auto, stored or rescale"):
        thoracle.read(folder / "ctrate_v1_raw.nii.gz", hu="guess")  # type: ignore[arg-type]


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        thoracle.read(tmp_path / "absent.nii")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnsupportedFormat, match="pipe"):
        thoracle.read(tmp_path / "pipe")
    (tmp_path / "notes.txt").write_text("not a scan\n" * 50)
    with pytest.raises(ScanError):
        thoracle.read(tmp_path / "notes.txt")


def test_provenance_holds_no_path(chest: thoracle.Volume, data_dir: Path) -> None:
    said = json.dumps(chest.provenance.as_dict())
    assert "cip_ct" not in said
    assert str(data_dir) not in said
    assert len(chest.provenance.sha256) == 64
    assert RESEARCH_USE not in said  # the notice belongs to findings, not to a volume


HOSTILE = ("malformed", "dicom/irregular")
ONE_PROCESS = """
import json, resource, sys
from pathlib import Path
import thoracle
from thoracle.errors import ThoracleError
out = []
for path in json.loads(sys.stdin.read()):
    try:
        said = f"READ {thoracle.read(path).array.shape}"
    except ThoracleError as error:
        said = type(error).__name__ + ": " + str(error)
    out.append([path, said])
# VmHWM and not ru_maxrss, which a child takes over from the process that starts it.
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
print(json.dumps({"said": out, "mib": peak / 1024}))
"""


def test_nothing_hostile_crashes_hangs_or_is_read(data_dir: Path) -> None:
    """Every broken file and folder, in a process that may be lost: a typed error each, under 1 GiB."""
    paths = [str(p) for name in HOSTILE for p in sorted((data_dir / name).rglob("*")) if p.suffix != ".md"]
    paths += [str(data_dir / name) for name in HOSTILE]
    done = subprocess.run(
        [sys.executable, "-c", ONE_PROCESS], input=json.dumps(paths), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    read = [row for row in result["said"] if row[1].startswith("READ")]
    assert read == []
    assert len(result["said"]) == len(paths) > 40
    assert result["mib"] < 1024


def test_gzip_name_does_not_matter(chest: thoracle.Volume, tmp_path: Path) -> None:
    plain = _save_nifti(tmp_path / "scan.nii", chest)
    (tmp_path / "other.nii").write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(thoracle.read(tmp_path / "other.nii").array, chest.array)


@pytest.mark.parametrize("zeros", [512, 4096, None])
def test_a_download_whose_beginning_or_all_is_zeros_is_named_as_no_scan(chest: thoracle.Volume, tmp_path: Path, zeros: int | None) -> None:
    content = gzip.compress(_save_nifti(tmp_path / "scan.nii", chest).read_bytes())
    (tmp_path / "scan.nii.gz").write_bytes(bytes(len(content) if zeros is None else zeros) + content[zeros or len(content) :])
    with pytest.raises(UnsupportedFormat, match="is not NIfTI"):
        thoracle.read(tmp_path / "scan.nii.gz")


def test_a_download_with_zeros_within_it_is_refused(chest: thoracle.Volume, tmp_path: Path) -> None:
    content = bytearray(gzip.compress(_save_nifti(tmp_path / "scan.nii", chest).read_bytes()))
    middle = len(content) // 2
    content[middle : middle + 512] = bytes(512)
    (tmp_path / "scan.nii.gz").write_bytes(content)
    with pytest.raises(CorruptFile):
        thoracle.read(tmp_path / "scan.nii.gz")


def test_a_file_that_may_not_be_opened_is_an_error_of_the_scan(chest: thoracle.Volume, tmp_path: Path) -> None:
    path = _save_nifti(tmp_path / "scan.nii", chest)
    link = tmp_path / "loop.nii"
    link.symlink_to(link)
    with pytest.raises(InputError, match="no such file"):
        thoracle.read(link)
    (tmp_path / "folder.nii.gz").mkdir()
    with pytest.raises(ScanError):
        thoracle.read(tmp_path / "folder.nii.gz")
    if os.geteuid() != 0:  # root may open everything
        path.chmod(0)
        with pytest.raises(ScanUnreadable):
            thoracle.read(path)


METAIMAGE = "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_SHORT\nElementDataFile = {}\n"
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 4 4 4\nencoding: raw\n{}\n"


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (METAIMAGE.format("scan.raw"), "scan.mhd", ("scan.raw",)),
        (METAIMAGE.format("./Müller.raw"), "00001.mha", ("Müller.raw",)),
        (METAIMAGE.format("../scan.raw"), "scan.mhd", ("../scan.raw",)),
        (METAIMAGE.format("LOCAL"), "scan.mha", ()),
        (NRRD.format("data file: scan.raw.gz\n"), "scan.nhdr", ("scan.raw.gz",)),
        (NRRD.format(""), "scan.nrrd", ()),
        ("\x5c\x01\0\0", "a.hdr", ("a.img", "a.IMG", "a.img.gz", "a.IMG.gz")),
        ("\x5c\x01\0\0", "a.nii", ()),
        ("no scan", "a.raw", ()),
    ],
)
def test_a_header_names_its_data_file(content: str, name: str, expected: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "00001").write_bytes(content.encode())
    assert data_names(tmp_path / "00001", name) == expected


def test_a_damaged_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "00001").write_text("ObjectType = Image\n")
    with pytest.raises(CorruptFile):
        data_names(tmp_path / "00001", "scan.mhd")

"""NIfTI in every flavour: what is written is read, and what contradicts itself is refused by name."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thoracle.ct.nifti import read_nifti
from thoracle.errors import CorruptFile, GeometryInvalid, GeometryUnknown, NotCT, ScanError, TruncatedFile, UnsupportedFormat

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
AFFINE = np.array([[-0.75, 0, 0, 90.5], [0, -0.75, 0, 120.25], [0, 0, 1.5, -300], [0, 0, 0, 1]])
VOXELS = np.random.default_rng(0).integers(-1000, 1000, (7, 6, 5), np.int16)
DTYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
KINDS = {"NIfTI-1": nib.Nifti1Image, "NIfTI-2": nib.Nifti2Image, "NIfTI-1 pair": nib.Nifti1Pair, "NIfTI-2 pair": nib.Nifti2Pair}


def _write(
    path: Path,
    voxels: np.ndarray[Any, Any] = VOXELS,
    *,
    kind: str = "NIfTI-1",
    endian: str = "<",
    codes: tuple[int, int] = (1, 0),
    **edits: Any,
) -> Path:
    """Written by nibabel; then fields of the header are set as they are, without its checks. `codes` are those of sform and qform."""
    image_class = KINDS[kind]
    header = image_class.header_class(endianness=endian)
    header.set_data_dtype(voxels.dtype.newbyteorder(endian))
    image = image_class(voxels, AFFINE, header)
    image.set_sform(AFFINE, codes[0])
    image.set_qform(AFFINE, codes[1])
    nib.save(image, path)
    header_path = path.with_name(path.name.replace(".img", ".hdr"))
    content = header_path.read_bytes()
    size = header.sizeof_hdr
    raw = gzip.decompress(content) if path.name.endswith(".gz") else content
    edited = image_class.header_class(raw[:size], check=False)
    for field, value in edits.items():
        edited[field] = value
    raw = edited.binaryblock + raw[size:]
    header_path.write_bytes(gzip.compress(raw, 1) if path.name.endswith(".gz") else raw)
    return path


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(KINDS)),
    dtype=st.sampled_from(DTYPES),
    endian=st.sampled_from("<>"),
    packed=st.booleans(),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    scale=st.sampled_from([(1.0, 0.0), (2.0, -1024.0), (0.5, 0.0), (1.0, -8192.0), (0.0, 5.0), (np.nan, np.nan)]),
    seed=st.integers(0, 99),
)
def test_what_nibabel_writes_is_read(
    tmp_path: Path, kind: str, dtype: str, endian: str, packed: bool, shape: tuple[int, ...], scale: tuple[float, float], seed: int
) -> None:
    written = np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)
    path = tmp_path / f"scan.{'img' if 'pair' in kind else 'nii'}{'.gz' if packed else ''}"
    _write(path, written, kind=kind, endian=endian, scl_slope=scale[0], scl_inter=scale[1])
    scan = read_nifti(path)
    np.testing.assert_array_equal(scan.voxels, written)
    assert scan.voxels.dtype == np.dtype(dtype)
    assert scan.voxels.dtype.isnative
    assert (scan.format, scan.geometry) == (kind, "sform")
    np.testing.assert_allclose(scan.affine, RAS_TO_LPS @ AFFINE)  # type: ignore[arg-type]
    if scale[0] in (2.0, 0.5) or scale[1] == -8192:
        assert scan.rescale is not None
        assert (scan.rescale.slope, scan.rescale.intercept) == scale
    else:
        assert scan.rescale is None


def test_valid_files_of_others_equal_nibabels_reading(data_dir: Path) -> None:
    formats = data_dir / "volumes" / "formats"
    names = [path for path in sorted(formats.rglob("*")) if path.is_file() and "big_endian" not in path.name]
    assert len(names) >= 16
    for path in names:
        scan, image = read_nifti(path), nib.load(path)
        expected = np.asarray(image.dataobj.get_unscaled())
        np.testing.assert_array_equal(scan.voxels, expected.reshape(expected.shape[:3]), err_msg=path.name)
        if scan.affine is None:
            np.testing.assert_array_equal(np.abs(image.affine[:3, :3]), np.eye(3))
        else:
            np.testing.assert_allclose(scan.affine, RAS_TO_LPS @ image.affine, atol=1e-6)
    with pytest.raises(NotCT, match="z score"):
        read_nifti(formats / "njs_big_endian.nii.gz")


def test_a_pair_is_one_scan_by_either_name(data_dir: Path) -> None:
    formats = data_dir / "volumes" / "formats"
    header, image = formats / "air.hdr.gz", formats / "air.img.gz"
    digest = hashlib.sha256(header.read_bytes() + image.read_bytes()).hexdigest()
    assert read_nifti(header).sha256 == read_nifti(image).sha256 == digest


def test_a_pair_without_its_other_half_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "scan.img", kind="NIfTI-1 pair")
    path.with_suffix(".hdr").rename(tmp_path / "other.hdr")
    with pytest.raises(UnsupportedFormat):
        read_nifti(path)
    with pytest.raises(TruncatedFile, match="beside it"):
        read_nifti(tmp_path / "other.hdr")


def test_analyze_has_no_orientation(tmp_path: Path) -> None:
    nib.save(nib.AnalyzeImage(VOXELS, AFFINE), tmp_path / "scan.img")
    for name in ("scan.img", "scan.hdr"):
        with pytest.raises(GeometryUnknown, match="ANALYZE"):
            read_nifti(tmp_path / name)


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    plain = _write(tmp_path / "scan.nii")
    (tmp_path / "plain.nii.gz").write_bytes(plain.read_bytes())
    (tmp_path / "packed").write_bytes(gzip.compress(plain.read_bytes()))
    for name in ("plain.nii.gz", "packed"):
        np.testing.assert_array_equal(read_nifti(tmp_path / name).voxels, VOXELS)


def test_trailing_axes_of_one_are_dropped_and_said(tmp_path: Path) -> None:
    scan = read_nifti(_write(tmp_path / "scan.nii", VOXELS[..., None, None]))
    np.testing.assert_array_equal(scan.voxels, VOXELS)
    assert scan.repaired == ("dropped axes of size 1 (7x6x5x1x1)",)


def test_qform_gives_the_geometry_where_there_is_no_sform(tmp_path: Path) -> None:
    scan = read_nifti(_write(tmp_path / "scan.nii", codes=(0, 1)))
    np.testing.assert_allclose(scan.affine, RAS_TO_LPS @ AFFINE, atol=1e-5)  # type: ignore[arg-type]
    assert scan.geometry == "qform"
    mirrored = _write(tmp_path / "b.nii", codes=(0, 1), quatern_d=0, pixdim=[0, 0.75, 0.75, 1.5, 0, 0, 0, 0])
    assert float(np.linalg.det(read_nifti(mirrored).affine[:3, :3])) > 0  # type: ignore[index]  # qfac 0 is taken as 1


@pytest.mark.parametrize("codes", [(0, 0), (-1, -7)])
def test_a_header_without_geometry_has_none(tmp_path: Path, codes: tuple[int, int]) -> None:
    scan = read_nifti(_write(tmp_path / "scan.nii", sform_code=codes[0], qform_code=codes[1]))
    assert scan.affine is None
    assert scan.geometry == "neither sform nor qform"


@pytest.mark.parametrize("diagonal", [(-1.0, -1.0, 1.0), (1.0, 1.0, 1.0), (-1.0, 1.0, -1.0)])
@pytest.mark.parametrize("codes", [(1, 1), (0, 1), (2, 0)])
def test_geometry_a_blank_header_of_any_writer_has_none(tmp_path: Path, diagonal: tuple[float, ...], codes: tuple[int, int]) -> None:
    """ITK's is diag(-1, -1, 1), its own axes in NIfTI's; an origin makes none of them less blank."""
    affine = np.diag([*diagonal, 1.0])
    affine[:3, 3] = (12.5, -7.0, 300.0)
    image = nib.Nifti1Image(VOXELS, affine)
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    nib.save(image, tmp_path / "blank.nii")
    scan = read_nifti(tmp_path / "blank.nii")
    assert scan.affine is None
    np.testing.assert_allclose(scan.blank, RAS_TO_LPS @ affine, atol=1e-6)  # type: ignore[arg-type]


def test_geometry_sform_and_qform_that_differ_by_a_translation_are_one(tmp_path: Path) -> None:
    for axis, offset in (("x", 95.5), ("z", 500.0)):
        scan = read_nifti(_write(tmp_path / "scan.nii", codes=(2, 1), **{f"qoffset_{axis}": offset}))
        np.testing.assert_allclose(scan.affine, RAS_TO_LPS @ AFFINE)  # type: ignore[arg-type]
        assert "sform taken" in scan.repaired[0]
    assert read_nifti(_write(tmp_path / "scan.nii", codes=(2, 1))).repaired == ()


_UNITS = {1: 1000.0, 3: 0.001}  # metre, micron


@pytest.mark.parametrize("unit", [1, 3])
@pytest.mark.parametrize("codes", [(1, 1), (0, 1)])
def test_geometry_metre_and_micron_are_read_by_their_unit(tmp_path: Path, unit: int, codes: tuple[int, int]) -> None:
    voxels = np.zeros((70, 80, 60), np.int16)
    affine = AFFINE.copy()
    affine[:3] /= _UNITS[unit]
    image = nib.Nifti1Image(voxels, affine)
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    image.header["xyzt_units"] = unit
    nib.save(image, tmp_path / "scan.nii")
    scan = read_nifti(tmp_path / "scan.nii")
    np.testing.assert_allclose(scan.affine, RAS_TO_LPS @ AFFINE, rtol=1e-5, atol=1e-5)  # type: ignore[arg-type]
    assert "turned to mm" in scan.repaired[0]


def test_geometry_voxels_of_1_mm_in_metres_are_not_blank(tmp_path: Path) -> None:
    """Nobody writes 0.001 m by default."""
    image = nib.Nifti1Image(np.zeros((70, 80, 60), np.int16), np.diag([-0.001, -0.001, 0.001, 1.0]))
    image.set_sform(image.affine, 1)
    image.header["xyzt_units"] = 1
    nib.save(image, tmp_path / "scan.nii")
    np.testing.assert_allclose(read_nifti(tmp_path / "scan.nii").affine, np.eye(4), atol=1e-6)  # type: ignore[arg-type]


def test_a_blank_header_has_no_geometry(tmp_path: Path, golden_dir: Path) -> None:
    nib.save(nib.Nifti1Image(VOXELS, np.eye(4)), tmp_path / "blank.nii")
    for path in (tmp_path / "blank.nii", golden_dir / "preprocess" / "ctrate_v1_raw.nii.gz"):
        scan = read_nifti(path)
        assert scan.affine is None
        assert scan.geometry == "blank header: identity affine at 1 mm"


PIX = [1, 0.75, 0.75, 1.5, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("edits", "error", "said"),
    [
        ({"pixdim": [1, 0, 0.75, 1.5, 0, 0, 0, 0]}, GeometryInvalid, "pixdim"),
        ({"pixdim": [1, 0.75, -0.75, 1.5, 0, 0, 0, 0]}, GeometryInvalid, "pixdim"),
        ({"pixdim": [1, 0.75, 0.75, np.nan, 0, 0, 0, 0]}, GeometryInvalid, "pixdim"),
        ({"pixdim": [1, 0.75, 0.75, np.inf, 0, 0, 0, 0]}, GeometryInvalid, "pixdim"),
        ({"pixdim": [1, 0.75, 0.75, 3.0, 0, 0, 0, 0]}, GeometryInvalid, "sform has steps"),
        ({"srow_x": [-1.5, 0, 0, 90]}, GeometryInvalid, "sform has steps"),
        ({"xyzt_units": 1}, GeometryInvalid, "meter"),
        ({"xyzt_units": 3}, GeometryInvalid, "micron"),
        ({"xyzt_units": 7}, GeometryInvalid, "xyzt_units"),
        ({"qform_code": 1, "quatern_d": 0, "quatern_b": 1}, GeometryInvalid, "corners"),
        ({"qform_code": 1, "quatern_b": 1, "quatern_c": 1}, GeometryInvalid, "rotation"),
        ({"qform_code": 1, "pixdim": [5, *PIX[1:]]}, GeometryInvalid, "qfac"),
        ({"qform_code": 1, "qoffset_x": np.nan}, GeometryInvalid, "corners"),
        ({"dim": [0, 7, 6, 5, 1, 1, 1, 1]}, CorruptFile, "dim is"),
        ({"dim": [9, 7, 6, 5, 1, 1, 1, 1]}, CorruptFile, "dim is"),
        ({"dim": [3, 7, -6, 5, 1, 1, 1, 1]}, CorruptFile, "dim is"),
        ({"dim": [3, 7, 6, 0, 1, 1, 1, 1]}, CorruptFile, "dim is"),
        ({"dim": [2, 7, 6, 5, 1, 1, 1, 1]}, NotCT, "2 dimensions"),
        ({"dim": [4, 7, 6, 1, 5, 1, 1, 1]}, NotCT, "4 dimensions"),
        ({"dim": [5, 7, 1, 1, 6, 5, 1, 1]}, NotCT, "5 dimensions"),
        ({"dim": [3, 7, 6, 6, 1, 1, 1, 1]}, TruncatedFile, "promises"),
        ({"dim": [3, 7, 6, 4, 1, 1, 1, 1]}, CorruptFile, "holds more"),
        ({"dim": [3, 32000, 32000, 32000, 1, 1, 1, 1]}, TruncatedFile, "promises"),
        ({"datatype": 128}, NotCT, "RGB"),
        ({"datatype": 2304}, NotCT, "RGBA"),
        ({"datatype": 32}, NotCT, "complex"),
        ({"datatype": 1536}, NotCT, "float128"),
        ({"datatype": 0}, NotCT, "none"),
        ({"datatype": 1}, NotCT, "binary"),
        ({"datatype": 77}, CorruptFile, "77"),
        ({"datatype": 2}, CorruptFile, "holds more"),
        ({"datatype": 16}, TruncatedFile, "promises"),
        ({"vox_offset": 0}, CorruptFile, "vox_offset"),
        ({"vox_offset": 340}, CorruptFile, "vox_offset"),
        ({"vox_offset": -352}, CorruptFile, "vox_offset"),
        ({"vox_offset": 352.5}, CorruptFile, "vox_offset"),
        ({"vox_offset": np.nan}, CorruptFile, "vox_offset"),
        ({"vox_offset": np.inf}, CorruptFile, "vox_offset"),
        ({"vox_offset": 368}, TruncatedFile, "promises"),
        ({"vox_offset": 1e30}, TruncatedFile, "promises"),
        ({"intent_code": 1002}, NotCT, "label"),
        ({"intent_code": 5}, NotCT, "z score"),
        ({"intent_code": 31999}, NotCT, "31999"),
        ({"scl_slope": 2, "scl_inter": np.nan}, CorruptFile, "scl_inter"),
        ({"magic": b"xxx"}, CorruptFile, "magic"),
        ({"magic": b"ni1"}, TruncatedFile, "beside it"),
        ({"sizeof_hdr": 349}, UnsupportedFormat, "first four bytes"),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(tmp_path: Path, edits: dict[str, Any], error: type[ScanError], said: str) -> None:
    path = _write(tmp_path / "scan.nii", **edits)
    with pytest.raises(error, match=said):
        read_nifti(path)


def test_a_sheared_or_broken_sform_is_left_to_the_judgement_of_geometry(tmp_path: Path) -> None:
    """It names gantry tilt, NaN and singularity; here a qform, which cannot say shear, must not get in the way."""
    sheared = read_nifti(_write(tmp_path / "scan.nii", codes=(1, 1), srow_z=[0, 0.3, 1.5, 0]))
    assert sheared.affine is not None
    assert float(sheared.affine[2, 1]) == pytest.approx(0.3)
    broken = read_nifti(_write(tmp_path / "scan.nii", srow_y=np.nan))
    assert not np.isfinite(broken.affine).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("angle", [1, 7, 20])
def test_float32_quaternions_near_half_a_turn_are_no_contradiction(tmp_path: Path, angle: float) -> None:
    """LPS files are half a turn from NIfTI's axes, where a float32 quaternion is least exact."""
    turn = np.deg2rad(angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = AFFINE.copy()
    affine[:3, :3] = rotation @ AFFINE[:3, :3]
    image = nib.Nifti1Image(np.zeros((512, 512, 2), np.int16), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nib.save(image, tmp_path / "scan.nii")
    assert read_nifti(tmp_path / "scan.nii").geometry == "sform"


_EACH = """
import json, sys
from pathlib import Path
from thoracle.ct.nifti import read_nifti
from thoracle.errors import ScanError
said = {}
for path in map(Path, sys.argv[1:]):
    try:
        said[path.name] = "affine " + str(read_nifti(path).affine)
    except ScanError as error:
        said[path.name] = type(error).__name__
said["MiB"] = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
print(json.dumps(said))
"""


def test_malformed_files_end_in_typed_errors_within_memory_and_time(data_dir: Path) -> None:
    paths = [path for path in sorted((data_dir / "malformed").rglob("*")) if path.is_file() and "dicom" not in path.parts]
    done = subprocess.run([sys.executable, "-c", _EACH, *paths], capture_output=True, text=True, timeout=60, check=True)
    said = json.loads(done.stdout)
    assert said.pop("MiB") < 300
    assert len(said) == len(paths) >= 19
    expected = {
        "bad_crc.nii.gz": "CorruptFile",
        "empty.nii.gz": "TruncatedFile",
        "header_only.nii": "TruncatedFile",
        "huge_dim.nii.gz": "TruncatedFile",
        "plain_named_gz.nii.gz": "TruncatedFile",
        "truncated_gzip.nii.gz": "TruncatedFile",
        "zero_pixdim.nii.gz": "GeometryInvalid",
        "complex32.nii": "NotCT",
        "3D.nii": "NotCT",
        "4D.nii": "NotCT",
        "not-nifti.nii": "UnsupportedFormat",
        "no_orientation.nii.gz": "affine None",
    }
    assert {name: said[name] for name in expected} == expected
    unnamed = {name: word for name, word in said.items() if name not in expected and "nan" not in word}
    assert set(unnamed.values()) <= {"UnsupportedFormat", "CorruptFile", "TruncatedFile", "NotCT"}

"""NRRD attached and detached, in every encoding that is read; and hostile headers."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import nrrd
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thoracle.ct.nrrd import read_nrrd
from thoracle.errors import CorruptFile, GeometryInvalid, NotCT, ScanError, TruncatedFile, UnsafeArchive, UnsupportedFormat

VOXELS = np.random.default_rng(0).integers(-1000, 1000, (7, 6, 5), np.int16)
DIRECTIONS = [[0.75, 0.0, 0.0], [0.0, 0.75, 0.0], [0.0, 0.0, 1.5]]
HEADER = {"space": "left-posterior-superior", "space directions": DIRECTIONS, "space origin": [-90.5, -120.25, -300.0]}
AFFINE = np.array([[0.75, 0, 0, -90.5], [0, 0.75, 0, -120.25], [0, 0, 1.5, -300], [0, 0, 0, 1]])
#: Names, and the signs that bring x and y to LPS.
SPACES = [(name, (1, 1)) for name in ("left-posterior-superior", "LPS")]
SPACES += [(name, (-1, -1)) for name in ("right-anterior-superior", "RAS")]
SPACES += [(name, (1, -1)) for name in ("left-anterior-superior", "LAS")]
FIELDS = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "7 6 5",
    "space directions": "(0.75,0,0) (0,0.75,0) (0,0,1.5)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(-90.5,-120.25,-300)",
}


def _text(path: Path, content: bytes = VOXELS.tobytes("F"), **changed: str | None) -> Path:
    """An attached file from header fields as text; underscores for spaces, None drops a field."""
    fields = {**FIELDS, **{field.replace("_", " "): value for field, value in changed.items()}}
    header = "NRRD0004\n" + "".join(f"{field}: {value}\n" for field, value in fields.items() if value is not None)
    path.write_bytes(header.encode() + b"\n" + content)
    return path


def test_the_real_chest_has_the_geometry_of_its_dicom_series(data_dir: Path) -> None:
    path = data_dir / "volumes" / "cip_ct-64.nrrd"
    scan = read_nrrd(path)
    assert scan.voxels.shape == (64, 64, 79)
    np.testing.assert_array_equal(scan.voxels, nrrd.read(str(path))[0])
    assert scan.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    slices = [pydicom.dcmread(file, stop_before_pixels=True) for file in (data_dir / "dicom" / "cip_ct64").iterdir()]
    lowest = min(slices, key=lambda ds: float(ds.ImagePositionPatient[2]))
    assert scan.affine is not None
    np.testing.assert_allclose(scan.affine[:3, 3], lowest.ImagePositionPatient, atol=0.01)
    np.testing.assert_allclose(scan.affine.diagonal()[:2], lowest.PixelSpacing, rtol=1e-5)
    assert len(slices) == 79


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dtype=st.sampled_from(["i1", "u1", "<i2", ">i2", "<u2", "<i4", ">i4", "<u4", "<i8", "<u8", "<f4", ">f4", "<f8"]),
    encoding=st.sampled_from(["raw", "gzip", "bzip2"]),
    detached=st.booleans(),
    space=st.sampled_from(SPACES),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
)
def test_what_pynrrd_writes_is_read(
    tmp_path: Path, dtype: str, encoding: str, detached: bool, space: tuple[str, tuple[int, int]], shape: tuple[int, ...]
) -> None:
    written = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    name = "scan.nhdr" if detached else "scan.nrrd"
    nrrd.write(str(tmp_path / name), written, {**HEADER, "encoding": encoding, "space": space[0]}, detached_header=detached)
    scan = read_nrrd(tmp_path / name)
    np.testing.assert_array_equal(scan.voxels, written)
    assert scan.voxels.dtype.isnative
    np.testing.assert_allclose(scan.affine, np.diag([*space[1], 1, 1]) @ AFFINE)  # type: ignore[arg-type]


def test_a_detached_scan_is_hashed_header_first(tmp_path: Path) -> None:
    nrrd.write(str(tmp_path / "scan.nhdr"), VOXELS, {**HEADER, "encoding": "raw"}, detached_header=True)
    both = (tmp_path / "scan.nhdr").read_bytes() + (tmp_path / "scan.raw").read_bytes()
    assert read_nrrd(tmp_path / "scan.nhdr").sha256 == hashlib.sha256(both).hexdigest()


@pytest.mark.parametrize(("skip", "before"), [("16", bytes(16)), ("-1", b"any other header")])
def test_bytes_before_the_voxels_are_skipped(tmp_path: Path, skip: str, before: bytes) -> None:
    path = _text(tmp_path / "scan.nrrd", before + VOXELS.tobytes("F"), byte_skip=skip)
    np.testing.assert_array_equal(read_nrrd(path).voxels, VOXELS)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"space": None}, "no space"),
        ({"space": "scanner-xyz"}, "scanner-xyz"),
        ({"space_directions": None}, "no space directions"),
    ],
)
def test_a_header_that_does_not_speak_of_the_body_has_no_geometry(tmp_path: Path, changed: dict[str, str | None], said: str) -> None:
    scan = read_nrrd(_text(tmp_path / "scan.nrrd", **changed))
    assert scan.affine is None
    assert said in scan.geometry


@pytest.mark.parametrize("space", ["left-posterior-superior", "RAS", "left-anterior-superior"])
@pytest.mark.parametrize("directions", ["(1,0,0) (0,1,0) (0,0,1)", "(-1,0,0) (0,-1,0) (0,0,1)", "(0,1,0) (1,0,0) (0,0,-1)"])
def test_geometry_unit_directions_are_blank_whatever_the_origin(tmp_path: Path, space: str, directions: str) -> None:
    scan = read_nrrd(_text(tmp_path / "scan.nrrd", space=space, space_directions=directions))
    assert scan.affine is None
    assert scan.blank is not None
    assert "blank" in scan.geometry
    scan = read_nrrd(_text(tmp_path / "scan.nrrd", space=space, space_directions=directions.replace("1", "1.25")))
    assert scan.affine is not None


@pytest.mark.parametrize(("unit", "factor"), [("m", 0.001), ("metre", 0.001), ("um", 1000.0), ("microns", 1000.0), ("cm", 0.1)])
def test_geometry_space_units_are_read_by_their_unit_where_they_make_a_body(tmp_path: Path, unit: str, factor: float) -> None:
    directions = " ".join(f"({','.join(f'{step * factor:.9g}' for step in row)})" for row in np.diag([0.75, 0.75, 1.5]))
    origin = f"({-90.5 * factor:.9g},{-120.25 * factor:.9g},{-300 * factor:.9g})"
    voxels = np.zeros((80, 90, 70), np.int16)
    path = _text(
        tmp_path / "scan.nrrd",
        voxels.tobytes("F"),
        sizes="80 90 70",
        space_directions=directions,
        space_origin=origin,
        space_units=f'"{unit}" "{unit}" "{unit}"',
    )
    scan = read_nrrd(path)
    np.testing.assert_allclose(scan.affine, AFFINE, rtol=1e-6)  # type: ignore[arg-type]
    assert scan.repaired == (f"lengths in {unit} (space units) turned to mm",)


def test_teems_own_way_to_name_a_data_file_and_capitals_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.raw").write_bytes(VOXELS.tobytes("F"))
    for name, encoding in (("./x.raw", "raw"), ("x.raw", "RAW"), ("./x.raw", "Raw")):
        scan = read_nrrd(_text(tmp_path / "scan.nhdr", b"", data_file=name, encoding=encoding))
        np.testing.assert_array_equal(scan.voxels, VOXELS)
    (tmp_path / "x.raw.gz").write_bytes(gzip.compress(VOXELS.tobytes("F")))
    np.testing.assert_array_equal(read_nrrd(_text(tmp_path / "s.nhdr", b"", data_file="./x.raw.gz", encoding="GZ")).voxels, VOXELS)


@pytest.mark.parametrize("name", [".//etc/passwd", "././../x.raw", "./..", "./sub/x.raw", "./"])
def test_a_dot_before_the_name_opens_no_other_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeArchive, match="outside"):
        read_nrrd(_text(tmp_path / "scan.nhdr", b"", data_file=name))


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"space_units": '"mm" "m" "mm"'}, GeometryInvalid, "one unit"),
        ({"space_units": '"m" "m" "m"'}, GeometryInvalid, "no body"),
        ({"sizes": "7 6 6"}, TruncatedFile, "promises"),
        ({"sizes": "7 6 4"}, CorruptFile, "holds more"),
        ({"sizes": "32000 32000 32000"}, TruncatedFile, "promises"),
        ({"sizes": "7 6"}, CorruptFile, "sizes"),
        ({"sizes": "7 6 nan"}, CorruptFile, "sizes"),
        ({"sizes": "7 6 inf"}, CorruptFile, "sizes"),
        ({"sizes": "7 -6 5"}, CorruptFile, "sizes"),
        ({"sizes": "seven"}, CorruptFile, "no NRRD header"),
        ({"sizes": None}, CorruptFile, "no sizes"),
        ({"encoding": None}, CorruptFile, "no encoding"),
        ({"encoding": "gzip"}, CorruptFile, "damaged"),
        ({"encoding": "hex"}, UnsupportedFormat, "hex"),
        ({"encoding": "ascii"}, UnsupportedFormat, "unu save"),
        ({"endian": None}, CorruptFile, "endian"),
        ({"endian": "middle"}, CorruptFile, "endian"),
        ({"type": "block"}, CorruptFile, "type"),
        ({"type": "quaternion"}, NotCT, "quaternion"),
        ({"dimension": "4", "sizes": "1 7 6 5", "kinds": "vector domain domain domain"}, NotCT, "vector"),
        ({"dimension": "2", "sizes": "42 5", "kinds": None}, NotCT, "has 2"),
        ({"kinds": "RGB-color domain domain"}, NotCT, "RGB-color"),
        ({"kinds": "list domain domain"}, NotCT, "list"),
        ({"space_directions": "(0.75,0,0) (0,0.75,0)"}, GeometryInvalid, "three directions"),
        ({"space_directions": "none none none"}, GeometryInvalid, "three directions"),
        ({"space_directions": "()"}, CorruptFile, "no NRRD header"),
        ({"space_origin": "(0,0)"}, GeometryInvalid, "three directions"),
        ({"space_units": '"cm" "cm" "cm"'}, GeometryInvalid, "cm"),
        ({"data_file": "/etc/passwd"}, UnsafeArchive, "outside"),
        ({"data_file": "../scan.raw"}, UnsafeArchive, "outside"),
        ({"data_file": "C:\\scan.raw"}, UnsafeArchive, "outside"),
        ({"data_file": ".."}, UnsafeArchive, "outside"),
        ({"data_file": "absent.raw"}, TruncatedFile, "beside"),
        ({"data_file": "slice%03d.raw 1 5 1"}, TruncatedFile, "beside"),
        ({"line_skip": "3"}, UnsupportedFormat, "line skip"),
        ({"byte_skip": "-7"}, UnsupportedFormat, "byte skip"),
    ],
)
def test_hostile_and_odd_headers_are_refused(tmp_path: Path, changed: dict[str, str | None], error: type[ScanError], said: str) -> None:
    with pytest.raises(error, match=said):
        read_nrrd(_text(tmp_path / "scan.nrrd", **changed))


@pytest.mark.parametrize("content", [b"", b"NRRD", b"NRRD0009\n", b"NRRD0004\ntype short\n\n", b"NRRD0004\ntype: short\ntype: short\n\n"])
def test_what_is_no_header_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "scan.nrrd").write_bytes(content)
    with pytest.raises(CorruptFile):
        read_nrrd(tmp_path / "scan.nrrd")


def test_a_header_without_end_is_not_read_to_the_end(tmp_path: Path) -> None:
    with (tmp_path / "scan.nrrd").open("wb") as file:
        file.write(b"NRRD0004\n")
        file.truncate(6 << 30)
    with pytest.raises(CorruptFile, match="no end of header"):
        read_nrrd(tmp_path / "scan.nrrd")


def test_every_truncation_is_refused(data_dir: Path, tmp_path: Path) -> None:
    content = (data_dir / "volumes" / "cip_ct-64.nrrd").read_bytes()
    for length in [*range(0, 700, 9), *range(700, len(content), 20_011), len(content) - 1]:
        (tmp_path / "cut.nrrd").write_bytes(content[:length])
        with pytest.raises(ScanError):
            read_nrrd(tmp_path / "cut.nrrd")


def test_no_path_in_what_may_be_written_out(tmp_path: Path) -> None:
    path = _text(tmp_path / "DOE_JANE.nrrd", sizes="7 6 6")
    with pytest.raises(TruncatedFile) as raised:
        read_nrrd(path)
    assert "DOE" not in raised.value.redacted()

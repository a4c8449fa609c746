"""MetaImage attached and detached, in every type and order; its conventions written out by hand; and hostile headers."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import thoracle
from thoracle.ct.metaimage import read_metaimage
from thoracle.errors import (
    BudgetExceeded,
    CorruptFile,
    GeometryInvalid,
    GeometryUnknown,
    NotCT,
    ScanError,
    TruncatedFile,
    UnsafeArchive,
    UnsupportedFormat,
)
from thoracle.inference.batch.discover_scans import find_scans

VOXELS = np.arange(7 * 6 * 5, dtype=np.int16).reshape((7, 6, 5), order="F") - 100
FIELDS = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "-90.5 -120.25 -300",
    "CenterOfRotation": "0 0 0",
    "AnatomicalOrientation": "RAI",
    "ElementSpacing": "0.75 0.8 1.5",
    "DimSize": "7 6 5",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}
AFFINE = [[0.75, 0, 0, -90.5], [0, 0.8, 0, -120.25], [0, 0, 1.5, -300], [0, 0, 0, 1]]
TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
RAW = VOXELS.astype("<i2").tobytes("F")


def _text(path: Path, content: bytes = RAW, *, line_end: str = "\n", **changed: str | None) -> Path:
    """Write a header as ITK does, with fields changed, dropped (None) or put before the last one, and bytes after it."""
    fields = {**FIELDS, **changed}
    last = fields.pop("ElementDataFile")
    lines = [f"{field} = {text}" for field, text in fields.items() if text is not None] + [f"ElementDataFile = {last}"] * (last is not None)
    path.write_bytes((line_end.join(lines) + line_end).encode() + content)
    return path


def test_a_file_by_hand(tmp_path: Path) -> None:
    """Twelve voxels of two slices, first axis fastest; LPS millimetres."""
    path = tmp_path / "scan.mha"
    header = b"NDims = 3\nDimSize = 3 2 2\nElementSpacing = 2 3 4\nOffset = 10 20 30\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n"
    path.write_bytes(header + b"ElementType = MET_UCHAR\nElementDataFile = LOCAL\n" + bytes(range(12)))
    scan = read_metaimage(path)
    assert scan.voxels[:, :, 0].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert scan.voxels[:, :, 1].tolist() == [[6, 9], [7, 10], [8, 11]]
    assert scan.affine is not None
    assert scan.affine.tolist() == [[2, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]]
    assert (scan.format, scan.rescale, scan.repaired) == ("MetaImage", None, ())


def test_the_matrix_lists_the_directions_of_the_axes(tmp_path: Path) -> None:
    """ITK: the first three numbers are where the first axis points. Here i towards posterior, j towards superior, k towards left."""
    scan = read_metaimage(_text(tmp_path / "scan.mha", TransformMatrix="0 1 0 0 0 1 1 0 0", AnatomicalOrientation="AIR"))
    assert scan.affine is not None
    expected = [[0, 0, 1.5, -90.5], [0.75, 0, 0, -120.25], [0, 0.8, 0, -300], [0, 0, 0, 1]]
    np.testing.assert_allclose(scan.affine, expected)
    assert scan.repaired == ()


def test_a_scan_stored_in_another_order_is_the_same_volume(data_dir: Path, tmp_path: Path) -> None:
    """Slices from the head down and rows from the back, as LUNA16 has some: the first voxel lies at the other ends."""
    path = data_dir / "volumes" / "elastix_3DCT_lung_baseline_small.mha"
    chest = thoracle.read(path)
    assert chest.array.shape == (57, 78, 64)
    assert (chest.array.min(), chest.array.max()) == (-1130, 1379)  # of the data's manifest
    assert chest.spacing == (2.732, 2.732, 5.0)
    np.testing.assert_allclose(chest.affine[:3, 3], (-152.461, -148.986, -1432))
    turned = np.asfortranarray(chest.array[:, ::-1, ::-1])
    other = _text(
        tmp_path / "scan.mhd",
        b"",
        DimSize="57 78 64",
        ElementSpacing="2.732 2.732 5",
        TransformMatrix="1 0 0 0 -1 0 0 0 -1",
        AnatomicalOrientation="RPS",
        Offset=f"-152.461 {-148.986 + 77 * 2.732} {-1432 + 63 * 5}",
        ElementDataFile="scan.zraw",
        CompressedData="True",
    )
    (tmp_path / "scan.zraw").write_bytes(zlib.compress(turned.tobytes("F")))
    volume = thoracle.read(other)
    np.testing.assert_array_equal(volume.array, chest.array)
    np.testing.assert_allclose(volume.affine, chest.affine)
    both = hashlib.sha256(other.read_bytes() + (tmp_path / "scan.zraw").read_bytes()).hexdigest()
    assert volume.provenance.sha256 == both
    assert volume.provenance.notes == ()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(TYPES)),
    msb=st.booleans(),
    order=st.sampled_from(["BinaryDataByteOrderMSB", "ElementByteOrderMSB"]),
    packing=st.sampled_from([None, "zlib", "gzip"]),
    detached=st.booleans(),
    line_end=st.sampled_from(["\n", "\r\n"]),
    skip=st.sampled_from([None, "0", "-1", "16"]),
)
def test_every_type_order_and_place_is_read(
    tmp_path: Path, kind: str, msb: bool, order: str, packing: str | None, detached: bool, line_end: str, skip: str | None
) -> None:
    expected = np.random.default_rng(1).integers(0, 100, (7, 6, 5)).astype(TYPES[kind])
    raw = expected.astype(expected.dtype.newbyteorder(">" if msb else "<")).tobytes("F")
    content = {None: raw, "zlib": zlib.compress(raw), "gzip": gzip.compress(raw)}[packing]
    skip = None if (packing and skip == "-1") or (not detached and skip == "16") else skip
    changed = {
        "BinaryDataByteOrderMSB": None,
        "ElementType": kind,
        order: str(msb),
        "CompressedData": str(packing is not None),
        "HeaderSize": skip,
        "ElementDataFile": "scan.raw" if detached else "LOCAL",
    }
    (tmp_path / "scan.raw").write_bytes({"16": bytes(16), "-1": b"any header"}.get(skip or "", b"") + content)
    scan = read_metaimage(_text(tmp_path / "scan.mhd", b"" if detached else content, line_end=line_end, **changed))
    np.testing.assert_array_equal(scan.voxels, expected)
    assert scan.voxels.dtype == np.dtype(TYPES[kind])
    assert scan.voxels.dtype.isnative
    np.testing.assert_allclose(scan.affine, AFFINE)  # type: ignore[arg-type]


@pytest.mark.parametrize("offset", ["Offset", "Position", "Origin"])
@pytest.mark.parametrize("matrix", ["TransformMatrix", "Orientation", "Rotation"])
def test_a_field_may_have_its_other_names(tmp_path: Path, offset: str, matrix: str) -> None:
    changed = {"Offset": None, "TransformMatrix": None, offset: "1 2 3", matrix: "-1 0 0 0 -1 0 0 0 1", "AnatomicalOrientation": None}
    scan = read_metaimage(_text(tmp_path / "scan.mha", **changed))
    np.testing.assert_allclose(scan.affine, [[-0.75, 0, 0, 1], [0, -0.8, 0, 2], [0, 0, 1.5, 3], [0, 0, 0, 1]])  # type: ignore[arg-type]


@pytest.mark.parametrize("matrix", ["1 0 0 0 1 0 0 0 1", "-1 0 0 0 -1 0 0 0 1", "0 1 0 1 0 0 0 0 -1"])
def test_geometry_of_a_blank_header_is_unknown(tmp_path: Path, matrix: str) -> None:
    path = _text(tmp_path / "scan.mha", ElementSpacing="1 1 1", TransformMatrix=matrix, AnatomicalOrientation=None)
    scan = read_metaimage(path)
    assert scan.affine is None
    assert scan.blank is not None
    with pytest.raises(GeometryUnknown, match="--metadata"):
        thoracle.read(path, min_slices=1)
    row = {"XYSpacing": [0.7, 0.7], "ZSpacing": 1.25}
    assert thoracle.read(path, min_slices=1, hu="stored", metadata=row).spacing == (0.7, 0.7, 1.25)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ElementSpacing": None}, "no ElementSpacing"),
        ({"TransformMatrix": None, "AnatomicalOrientation": "RPI"}, "no TransformMatrix"),
    ],
)
def test_geometry_that_is_not_said_is_unknown(tmp_path: Path, changed: dict[str, str | None], said: str) -> None:
    scan = read_metaimage(_text(tmp_path / "scan.mha", **changed))
    assert scan.affine is None
    assert said in scan.geometry


def test_the_remark_on_orientation_never_turns_an_axis(tmp_path: Path) -> None:
    """As in ITK, which writes it and does not read it; but what contradicts the matrix is said."""
    scan = read_metaimage(_text(tmp_path / "scan.mha", AnatomicalOrientation="LPI"))
    np.testing.assert_allclose(scan.affine, AFFINE)  # type: ignore[arg-type]
    assert scan.repaired == ("AnatomicalOrientation LPI left out: TransformMatrix says RAI",)
    assert read_metaimage(_text(tmp_path / "scan.mha", AnatomicalOrientation="???")).repaired == ()
    bare = read_metaimage(_text(tmp_path / "scan.mha", AnatomicalOrientation=None, TransformMatrix=None, Offset=None))
    np.testing.assert_allclose(bare.affine, np.diag([0.75, 0.8, 1.5, 1]))  # type: ignore[arg-type]
    assert "taken as left, posterior, superior" in bare.geometry
    assert "taken as zero" in bare.geometry


def test_other_units_are_read_where_they_make_a_body(tmp_path: Path) -> None:
    voxels = np.zeros((80, 90, 70), np.int16)
    changed = {"DimSize": "80 90 70", "ElementSpacing": "750 800 1500", "Offset": "-90500 -120250 -300000", "DistanceUnits": "um"}
    scan = read_metaimage(_text(tmp_path / "scan.mha", voxels.tobytes("F"), **changed))
    np.testing.assert_allclose(scan.affine, AFFINE)  # type: ignore[arg-type]
    assert scan.repaired == ("lengths in um (DistanceUnits) turned to mm",)


def test_a_scale_that_the_header_declares_is_a_candidate(tmp_path: Path) -> None:
    fields = {"ElementToIntensityFunctionSlope": "1", "ElementToIntensityFunctionOffset": "-1024"}
    scan = read_metaimage(_text(tmp_path / "scan.mha", **fields))
    assert scan.rescale is not None
    assert (scan.rescale.slope, scan.rescale.intercept) == (1.0, -1024.0)


def test_blanks_behind_the_data_are_left_out_and_said(tmp_path: Path) -> None:
    for content, packed in ((RAW + b"\n", "False"), (zlib.compress(RAW) + b"\r\n", "True")):
        scan = read_metaimage(_text(tmp_path / "scan.mha", content, CompressedData=packed))
        np.testing.assert_array_equal(scan.voxels, VOXELS)
        assert "after the voxels left out" in scan.repaired[0]


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"DimSize": "7 6 6"}, TruncatedFile, "promises"),
        ({"DimSize": "7 6 4"}, CorruptFile, "holds more"),
        ({"DimSize": "32000 32000 32000"}, TruncatedFile, "promises"),
        ({"DimSize": "7 6"}, CorruptFile, "DimSize"),
        ({"DimSize": "7 6 nan"}, CorruptFile, "DimSize"),
        ({"DimSize": "7 6 0"}, CorruptFile, "DimSize"),
        ({"DimSize": "7 6 -5"}, CorruptFile, "DimSize"),
        ({"DimSize": "7 6 4.5"}, CorruptFile, "DimSize"),
        ({"DimSize": None}, CorruptFile, "no DimSize"),
        ({"ElementType": None}, CorruptFile, "no ElementType"),
        ({"ElementType": "MET_STRING"}, NotCT, "MET_STRING"),
        ({"ElementType": "MET_UCHAR_ARRAY"}, NotCT, "no number"),
        ({"ElementType": "MET_CHAR"}, CorruptFile, "holds more"),
        ({"ElementType": "MET_DOUBLE"}, TruncatedFile, "promises"),
        ({"NDims": "4", "DimSize": "7 6 5 1"}, NotCT, "4 axes"),
        ({"NDims": "2", "DimSize": "42 5"}, NotCT, "2 axes"),
        ({"NDims": None}, CorruptFile, "no NDims"),
        ({"ElementNumberOfChannels": "3"}, NotCT, "3 channel"),
        ({"ObjectType": "Tube"}, NotCT, "Tube"),
        ({"BinaryData": "False"}, UnsupportedFormat, "text"),
        ({"BinaryData": "Maybe"}, CorruptFile, "True or False"),
        ({"ElementByteOrderMSB": "True"}, CorruptFile, "contradict"),
        ({"CompressedData": "True"}, CorruptFile, "zlib stream is damaged"),
        ({"ElementSpacing": "0.75 0 1.5"}, GeometryInvalid, "above zero"),
        ({"ElementSpacing": "0.75 -0.8 1.5"}, GeometryInvalid, "above zero"),
        ({"ElementSpacing": "0,75 0,8 1,5"}, CorruptFile, "0,75 0,8 1,5"),
        ({"TransformMatrix": "2 0 0 0 1 0 0 0 1"}, GeometryInvalid, "unit vectors"),
        ({"TransformMatrix": "1 0 0 0 1 0"}, CorruptFile, "9 finite"),
        ({"Orientation": "-1 0 0 0 -1 0 0 0 1"}, GeometryInvalid, "contradict"),
        ({"Position": "0 0 0"}, GeometryInvalid, "contradict"),
        ({"Offset": "nan 0 0"}, CorruptFile, "Offset"),
        ({"DistanceUnits": "m"}, GeometryInvalid, "no body"),
        ({"DistanceUnits": "furlong"}, GeometryInvalid, "furlong"),
        ({"ElementDataFile": "/etc/passwd"}, UnsafeArchive, "outside"),
        ({"ElementDataFile": "../scan.raw"}, UnsafeArchive, "outside"),
        ({"ElementDataFile": "sub/scan.raw"}, UnsafeArchive, "outside"),
        ({"ElementDataFile": "C:\\scan.raw"}, UnsafeArchive, "outside"),
        ({"ElementDataFile": ""}, UnsafeArchive, "outside"),
        ({"ElementDataFile": "absent.raw"}, TruncatedFile, "beside"),
        ({"ElementDataFile": "LIST"}, UnsupportedFormat, "list of files"),
        ({"ElementDataFile": "slice%03d.raw 1 5 1"}, UnsupportedFormat, "list of files"),
        ({"ElementDataFile": None}, CorruptFile, "no MetaImage header"),
        ({"HeaderSize": "12"}, UnsupportedFormat, "HeaderSize"),
        ({"HeaderSize": "-7"}, UnsupportedFormat, "HeaderSize"),
    ],
)
def test_hostile_and_odd_headers_are_refused(tmp_path: Path, changed: dict[str, str | None], error: type[ScanError], said: str) -> None:
    content = RAW if changed.get("ElementDataFile", "") is not None else b"\x01\x02 = no header"
    with pytest.raises(error, match=said):
        read_metaimage(_text(tmp_path / "scan.mha", content, **changed))


@pytest.mark.parametrize("content", [b"", b"ObjectType", b"ObjectType = Image\n", b"NDims = 3\nNDims = 4\n", b"notes\nand more\n"])
def test_what_is_no_header_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "scan.mha").write_bytes(content)
    with pytest.raises(CorruptFile):
        read_metaimage(tmp_path / "scan.mha")


def test_every_truncation_is_refused(data_dir: Path, tmp_path: Path) -> None:
    content = (data_dir / "volumes" / "elastix_3DCT_lung_baseline_small.mha").read_bytes()
    for length in [*range(0, 500, 9), *range(500, len(content), 40_011), len(content) - 1]:
        (tmp_path / "cut.mha").write_bytes(content[:length])
        with pytest.raises(ScanError):
            read_metaimage(tmp_path / "cut.mha")


def test_a_zlib_bomb_is_not_unpacked(tmp_path: Path) -> None:
    packed = zlib.compress(bytes(8 << 20), 9)
    with pytest.raises(CorruptFile, match="holds more"):
        read_metaimage(_text(tmp_path / "scan.mha", packed, CompressedData="True"))
    with pytest.raises(BudgetExceeded, match="times as much"):
        read_metaimage(_text(tmp_path / "scan.mha", packed * 40, CompressedData="True", DimSize="512 512 600"))


def test_a_changed_byte_of_a_zlib_stream_is_refused(tmp_path: Path) -> None:
    content = zlib.compress(RAW)
    for at in range(2, len(content), 7):
        changed = bytearray(content)
        changed[at] ^= 0x55
        with pytest.raises(CorruptFile):
            read_metaimage(_text(tmp_path / "scan.mha", bytes(changed), CompressedData="True"))


def test_a_raw_file_beside_a_header_is_no_scan_of_its_own(tmp_path: Path) -> None:
    for name in ("a.mhd", "b.mha"):
        _text(tmp_path / name, RAW if name == "b.mha" else b"", ElementDataFile="a.raw" if name == "a.mhd" else "LOCAL")
    (tmp_path / "a.raw").write_bytes(RAW)
    (tmp_path / "c.zraw").write_bytes(zlib.compress(RAW))
    assert [scan.name for scan in find_scans([tmp_path])] == ["a.mhd", "b.mha"]


def test_no_path_in_what_may_be_written_out(tmp_path: Path) -> None:
    with pytest.raises(TruncatedFile) as raised:
        read_metaimage(_text(tmp_path / "DOE_JANE.mha", DimSize="7 6 6"))
    assert "DOE" not in raised.value.redacted()

"""Signs, depths and padding: what cells of PixelData mean, in every codec, and where their labels are wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

import thoracle
from tests.ct.dicom.chest_series import HU, SIDE, make_slice, offset, write_series
from tests.ct.dicom.test_pixels import HTJ2K
from thoracle.errors import HounsfieldUnknown

CODECS = [ExplicitVRLittleEndian, RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless]
CORNERS = (np.add.outer((np.arange(SIDE) - SIDE / 2 + 0.5) ** 2, (np.arange(SIDE) - SIDE / 2 + 0.5) ** 2)) > (SIDE / 2) ** 2


def _units(folder: Path, **options: object) -> NDArray[np.generic]:
    """(slice, row, column), as HU is."""
    return thoracle.read(folder, **options).array.transpose(2, 1, 0)  # type: ignore[arg-type]


def _notes(folder: Path) -> str:
    return "; ".join(thoracle.read(folder).provenance.notes)


def _compress(ds: FileDataset, syntax: str, tmp_path: Path) -> FileDataset:
    """Compress by pydicom, or by GDCM where that alone has the encoder."""
    if syntax == ExplicitVRLittleEndian:
        return ds
    if syntax != JPEGLosslessSV1:
        ds.compress(syntax, generate_instance_uid=False)
        return ds
    plain, packed = str(tmp_path / "plain.dcm"), str(tmp_path / "packed.dcm")
    ds.save_as(plain)
    reader = gdcm.ImageReader()
    reader.SetFileName(plain)
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(packed)
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return pydicom.dcmread(packed)


# The codec's sign against the header's


@pytest.mark.parametrize("bits", [12, 13, 14, 15, 16])
def test_signed_values_in_an_unsigned_jpeg_2000_codestream(tmp_path: Path, bits: int) -> None:
    def make(k: int) -> FileDataset:
        ds = make_slice(k, (HU[k].astype(np.int32) & (1 << bits) - 1).astype(np.uint16), bits=bits, RescaleIntercept=0)
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        ds.PixelRepresentation = 1
        return ds

    np.testing.assert_array_equal(_units(write_series(tmp_path / "s", make)), HU)


@pytest.mark.parametrize("bits", [12, 13, 16])
def test_a_signed_jpeg_2000_codestream_under_an_unsigned_header(tmp_path: Path, bits: int) -> None:
    def make(k: int) -> FileDataset:
        ds = make_slice(k, HU[k], bits=bits, signed=True, RescaleIntercept=0)
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        ds.PixelRepresentation = 0
        return ds

    folder = write_series(tmp_path / "s", make)
    np.testing.assert_array_equal(_units(folder), HU)
    assert "PixelRepresentation 0 (unsigned) is not borne out" in _notes(folder)


def test_unsigned_values_in_a_signed_jpeg_2000_codestream(tmp_path: Path) -> None:
    """Bone of 2,000 HU is 3,024 of 4,095; the codestream has it as -1,072."""
    units = HU.copy()
    units[4, 20:22, 14:18] = 2000

    def make(k: int) -> FileDataset:
        stored = units[k].astype(np.int32) + 1024
        ds = make_slice(k, (stored << 4).astype(np.uint16).view(np.int16) >> 4, bits=12, signed=True)
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        ds.PixelRepresentation = 0
        return ds

    np.testing.assert_array_equal(_units(write_series(tmp_path / "s", make)), units)


def test_a_codestream_of_fewer_bits_than_stored(tmp_path: Path) -> None:
    """The sign is the highest bit of the codestream, where BitsStored was written as 16 whatever the depth."""

    def make(k: int) -> FileDataset:
        ds = make_slice(k, (HU[k].astype(np.int32) & 0x1FFF).astype(np.uint16), bits=13, RescaleIntercept=0)
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        ds.PixelRepresentation, ds.BitsStored, ds.HighBit = 1, 16, 15
        return ds

    np.testing.assert_array_equal(_units(write_series(tmp_path / "s", make)), HU)


def test_high_throughput_jpeg_2000_signed_under_an_unsigned_header(tmp_path: Path) -> None:
    ds = make_slice(0, np.zeros((16, 16), np.uint16), RescaleIntercept=0)
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
    ds.PixelData = encapsulate([HTJ2K])
    ds["PixelData"].VR = "OB"
    expected = np.add.outer(3 * np.arange(16), 5 * np.arange(16)) - 1000
    np.testing.assert_array_equal(_units(write_series(tmp_path / "s", lambda _: ds, [0]), hu="stored", min_slices=1)[0], expected)


@pytest.mark.parametrize("syntax", CODECS)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [12, 13, 15])
def test_fewer_bits_stored_than_allocated_in_every_codec(tmp_path: Path, syntax: str, signed: bool, bits: int) -> None:
    def make(k: int) -> FileDataset:
        ds = make_slice(k, HU[k], bits=bits, signed=True, RescaleIntercept=0) if signed else make_slice(k, bits=bits)
        return _compress(ds, syntax, tmp_path)

    np.testing.assert_array_equal(_units(write_series(tmp_path / "s", make)), HU)


@pytest.mark.parametrize("bits", [12, 13])
def test_lossy_jpeg_2000_keeps_signs(tmp_path: Path, bits: int) -> None:
    def make(k: int) -> FileDataset:
        ds = make_slice(k, (HU[k].astype(np.int32) & (1 << bits) - 1).astype(np.uint16), bits=bits, RescaleIntercept=0)
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        ds.PixelRepresentation, ds.file_meta.TransferSyntaxUID = 1, JPEG2000
        return ds

    np.testing.assert_array_equal(_units(write_series(tmp_path / "s", make)), HU)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("signed", [False, True])
def test_junk_above_the_stored_bits(tmp_path: Path, syntax: str, signed: bool) -> None:
    def make(k: int) -> FileDataset:
        junk = np.random.default_rng(k).integers(0, 16, HU[k].shape) << 12
        low = (HU[k] if signed else offset(k)).astype(np.int32) & 0xFFF
        ds = make_slice(k, (low | junk).astype(np.uint16), bits=12, signed=signed, RescaleIntercept=0 if signed else -1024)
        return _compress(ds, syntax, tmp_path)

    np.testing.assert_array_equal(_units(write_series(tmp_path / "s", make)), HU)


# Negative values labelled unsigned


def _specks(k: int, number: int) -> NDArray[np.uint16]:
    """Slice k with this number in 1% of its air."""
    stored = HU[k].astype(np.int32) + 1024
    stored[(np.random.default_rng(k).random(stored.shape) < 0.01) & (HU[k] < -900)] = number
    return (stored & 0xFFFF).astype(np.uint16)


@pytest.mark.parametrize(("bits", "number"), [(16, -3), (16, -1), (16, -30), (16, -976), (12, -3), (13, -5)])
def test_specks_below_zero_labelled_unsigned(tmp_path: Path, bits: int, number: int) -> None:
    """-3 is 65,533 of 16 bits; with sign bits above BitsStored it is that too."""
    folder = write_series(tmp_path / "s", lambda k: make_slice(k, _specks(k, number), bits=bits))
    expected = np.stack([_specks(k, number).view(np.int16).astype(np.int32) - 1024 for k in range(len(HU))])
    assert (expected == number - 1024).sum() > 20
    np.testing.assert_array_equal(_units(folder), expected)
    assert f"{(expected == number - 1024).sum()} voxels read as negative" in _notes(folder)


def test_specks_below_zero_in_thirteen_bits_without_sign_bits(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", lambda k: make_slice(k, _specks(k, -3) & 0x1FFF, bits=13))
    np.testing.assert_array_equal(_units(folder), np.stack([_specks(k, -3).view(np.int16).astype(np.int32) - 1024 for k in range(len(HU))]))


@pytest.mark.parametrize("bits", [12, 16])
def test_hounsfield_units_labelled_unsigned(tmp_path: Path, bits: int) -> None:
    folder = write_series(
        tmp_path / "s", lambda k: make_slice(k, (HU[k].astype(np.int32) & (1 << bits) - 1).astype(np.uint16), bits=bits, RescaleIntercept=0)
    )
    np.testing.assert_array_equal(_units(folder), HU)


def test_metal_keeps_its_sign(tmp_path: Path) -> None:
    """Values fill the range up to 3,071 HU, and with an extended scale far beyond."""
    for highest in (3071, 12_000, 30_000):
        units = HU.astype(np.int32)
        units[5, 14:18, 12:20] = np.linspace(500, highest, 8).astype(int)
        folder = write_series(tmp_path / str(highest), lambda k, units=units: make_slice(k, (units[k] + 1024).astype(np.uint16)))
        np.testing.assert_array_equal(_units(folder), units)
        assert _notes(folder) == ""


def test_numbers_that_are_no_units_and_no_negatives_are_refused(tmp_path: Path) -> None:
    def make(k: int) -> FileDataset:
        stored = offset(k)
        stored[0, :3] = (40_000, 50_000, 65_000)
        return make_slice(k, stored)

    with pytest.raises(HounsfieldUnknown, match="63,976 HU"):
        thoracle.read(write_series(tmp_path / "s", make))


# Padding


def _padded(number: int, *, signed: bool = False, bits: int = 16, vr: str = "US", declared: int | None = None, limit: int | None = None):  # type: ignore[no-untyped-def]
    """`make` of a series whose corners, 21% of each slice, hold `number`."""

    def make(k: int) -> FileDataset:
        stored = HU[k].astype(np.int32) if signed else offset(k).astype(np.int32)
        stored[CORNERS] = number
        ds = make_slice(k, (stored & 0xFFFF).astype(np.uint16), bits=bits, signed=signed, RescaleIntercept=0 if signed else -1024)
        ds.add_new(0x00280120, vr, number if declared is None else declared)
        if limit is not None:
            ds.add_new(0x00280121, vr, limit)
        return ds

    return make


@pytest.mark.parametrize(
    "make",
    [
        _padded(63536),
        _padded(32767),
        _padded(65535),
        _padded(4095, bits=12),
        _padded(63536, bits=12),  # beyond BitsStored
        _padded(0),
        _padded(-2000, vr="SS"),  # the wrong type: 63536 stored
        _padded(-2000, signed=True, vr="SS"),
        _padded(-2000, signed=True, vr="US", declared=63536),
        _padded(-32768, signed=True, vr="SS"),
        _padded(-2048, signed=True, bits=12, vr="SS"),
        _padded(-3024, signed=True, bits=13, vr="SS", limit=-2000),
        _padded(-2500, signed=True, vr="SS", declared=-2000, limit=-3024),
        _padded(-2500, signed=True, vr="SS", declared=-3024, limit=-2000),
        _padded(60000, declared=65535, limit=59999),
        _padded(60000, declared=59999, limit=65535),
        _padded(32767, signed=True, vr="SS"),
    ],
)
def test_declared_padding_is_air(tmp_path: Path, make: Callable[[int], FileDataset]) -> None:
    expected = HU.copy()
    expected[:, CORNERS] = -1000
    folder = write_series(tmp_path / "s", make)
    units = _units(folder)
    np.testing.assert_array_equal(units, expected)
    assert units.dtype == np.int16
    assert f"{CORNERS.sum() * len(HU):,} voxels taken as air (-1000 HU)" in _notes(folder)


def test_padding_in_implicit_encoding_and_within_the_scan(tmp_path: Path) -> None:
    """Without a type in the file, PixelRepresentation has to give it; padding of no tissue counts wherever it lies."""
    expected = HU.copy()
    expected[:, 15, 15] = -1000
    (tmp_path / "s").mkdir()
    for k in range(len(HU)):
        stored = offset(k)
        stored[15, 15] = 65535
        ds = make_slice(k, stored, PixelPaddingValue=65535)
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
        pydicom.dcmwrite(tmp_path / "s" / str(k), ds, implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(_units(tmp_path / "s"), expected)


def test_padding_declared_as_water_is_believed_at_the_edge_alone(tmp_path: Path) -> None:
    """Some who store Hounsfield units declare 0, which is water."""
    units = HU.copy()
    units[:, 12:14, 15:17] = 0

    def make(k: int) -> FileDataset:
        stored = units[k].copy()
        stored[CORNERS] = 0
        return make_slice(k, stored, signed=True, RescaleIntercept=0, PixelPaddingValue=0)

    expected = units.copy()
    expected[:, CORNERS] = -1000
    np.testing.assert_array_equal(_units(write_series(tmp_path / "s", make)), expected)


@pytest.mark.parametrize("bits", [13, 16])
def test_padding_that_is_minus_one_is_believed_at_the_edge_alone(tmp_path: Path, bits: int) -> None:
    """Hounsfield units as unsigned numbers: 65535 of 16 bits and 8191 of 13 are -1, in the corners padding and in the body blood."""
    units = HU.copy()
    units[:, 12:14, 15:17] = -1

    def make(k: int) -> FileDataset:
        stored = units[k].copy()
        stored[CORNERS] = -1
        ds = make_slice(k, stored.view(np.uint16) & (2**bits - 1), bits=bits, RescaleIntercept=0, PixelPaddingValue=2**bits - 1)
        if bits == 13:
            ds.compress(JPEG2000Lossless, generate_instance_uid=False)
            ds.PixelRepresentation = 1
        return ds

    expected = units.copy()
    expected[:, CORNERS] = -1000
    np.testing.assert_array_equal(_units(write_series(tmp_path / "s", make)), expected)


def test_padding_of_one_slice_and_compressed(tmp_path: Path) -> None:
    expected = HU.copy()
    expected[2, CORNERS] = -1000
    padded = _padded(-2000, signed=True, vr="SS")

    def make(k: int) -> FileDataset:
        ds = padded(k) if k == 2 else make_slice(k, HU[k], signed=True, RescaleIntercept=0)
        return _compress(ds, JPEG2000Lossless, tmp_path)

    np.testing.assert_array_equal(_units(write_series(tmp_path / "s", make)), expected)


def test_padding_that_no_voxel_has_or_no_number_is_not_mentioned(tmp_path: Path) -> None:
    for number in (63536, None):
        folder = write_series(
            tmp_path / str(number), lambda k, number=number: make_slice(k, **({} if number is None else {"PixelPaddingValue": number}))
        )
        np.testing.assert_array_equal(_units(folder), HU)
        assert _notes(folder) == ""

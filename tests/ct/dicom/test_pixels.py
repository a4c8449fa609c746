"""Pixels of every encoding and depth equal what independent decoders give; too large a promise is refused before memory is asked for."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

import thoracle
from tests.ct.dicom.chest_series import HU, SLICES, make_slice, offset, write_series
from thoracle.ct.dicom.files import StudyFile
from thoracle.ct.dicom.header import read_header
from thoracle.ct.dicom.pixels import resample_padding, resample_slices
from thoracle.ct.dicom.reader import read_dicom
from thoracle.ct.stored import StoredScan
from thoracle.errors import BudgetExceeded, CorruptFile, TruncatedFile, UnsupportedFormat

Save = Callable[..., Path]
LOSSLESS = ("1.2.1", "1.2.2", "1.2", "1.2.1.99", "1.2.4.57", "1.2.4.70", "1.2.4.80", "1.2.4.90", "1.2.5")
LOSSY = ("1.2.4.50", "1.2.4.51", "1.2.4.53", "1.2.4.55", "1.2.4.81", "1.2.4.91")
#: (row, column) 3 * row + 5 * column - 1000 of 16 x 16, as one high-throughput JPEG 2000 codestream (OpenJPH 0.26.3).
HTJ2K = bytes.fromhex(
    "ff4fff5100294000000000100000001000000000000000000000001000000010000000000000000000018f0101ff50000800020000000aff52000c00"
    "020001000504044001ff5c00132088909090909090909090909090888888ff64001700014f70656e4a50482056657220302e32362e332eff90000a00"
    "000000006a0001ff93c00025850287740000c00012c0001280da00877400f600077400c00013400012008cfd000274005a335300c00013c000138044"
    "44a0a7c275004cf2c049ecb500c0002ae0001540000000e7c0a7a7a74278000400fefdd7bf75ecb700ffd9"
)
ALONE = """
import sys
from pathlib import Path
from thoracle.ct.dicom.pixels import resample_padding, resample_slices
from thoracle.ct.dicom.reader import read_dicom
from thoracle.errors import ThoracleError
try:
    read_dicom(Path(sys.argv[1]), series=None, hu="auto", min_slices=1)
except ThoracleError as error:
    print(type(error).__name__)
# The peak of this program alone: what getrusage tells begins with the size of the process that forked it.
print(next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def _read(path: Path) -> StoredScan:
    return read_dicom(path, series=None, hu="auto", min_slices=1)


def _file(data_dir: Path, syntax: str) -> Path:
    return next((data_dir / "dicom" / "transfer_syntaxes").glob(f"*_1.2.840.10008.{syntax}.dcm"))


def _original(data_dir: Path) -> NDArray[np.int16]:
    return pixel_array(data_dir / "dicom" / "transfer_syntaxes" / "CTImage.dcm")


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_every_lossless_encoding_gives_the_same_slice(data_dir: Path, syntax: str) -> None:
    scan = _read(_file(data_dir, syntax))
    np.testing.assert_array_equal(scan.voxels[:, :, 0].T, _original(data_dir))
    assert scan.voxels.dtype == np.int16
    assert scan.voxels.dtype.isnative
    assert scan.rescale is not None
    assert (scan.rescale.slope, scan.rescale.intercept) == (1, -1024)


@pytest.mark.parametrize(
    ("syntax", "slope", "most"), [("1.2.4.50", 32.1216, 40), ("1.2.4.51", 2.0002442, 8), ("1.2.4.81", 1, 2), ("1.2.4.91", 1, 5)]
)
def test_lossy_encodings_are_the_slice_within_their_loss(data_dir: Path, syntax: str, slope: float, most: float) -> None:
    scan = _read(_file(data_dir, syntax))
    assert scan.rescale is not None
    assert scan.rescale.slope == slope
    units = scan.voxels[:, :, 0].T * scan.rescale.slope + scan.rescale.intercept
    original = _original(data_dir).astype(np.float64) - 1024
    assert np.abs(units - original)[original > -2000].mean() < most  # where there is no padding


def test_the_two_retired_encodings_agree(data_dir: Path) -> None:
    spectral, progressive = (_read(_file(data_dir, syntax)) for syntax in ("1.2.4.53", "1.2.4.55"))
    assert (spectral.voxels.min(), spectral.voxels.max()) == (497, 2708)
    np.testing.assert_array_equal(spectral.voxels, progressive.voxels)  # two ways of sending the same coefficients


def test_the_list_above_is_all_there_is(data_dir: Path) -> None:
    files = list((data_dir / "dicom" / "transfer_syntaxes").glob("*_1.2.840.10008.*"))
    assert {str(pydicom.dcmread(f, stop_before_pixels=True).file_meta.TransferSyntaxUID) for f in files} == {
        f"1.2.840.10008.{syntax}" for syntax in LOSSLESS + LOSSY
    }


@pytest.mark.parametrize("syntax", ["1.2.4.201", "1.2.4.202", "1.2.4.203"])
def test_high_throughput_jpeg_2000(forty: list[FileDataset], save: Save, syntax: str) -> None:
    ds = forty[0]
    ds.Rows = ds.Columns = 16
    ds.file_meta.TransferSyntaxUID = f"1.2.840.10008.{syntax}"
    ds.PixelData = encapsulate([HTJ2K])
    ds["PixelData"].VR = "OB"
    expected = np.add.outer(3 * np.arange(16), 5 * np.arange(16)) - 1000
    np.testing.assert_array_equal(_read(save([ds])).voxels[:, :, 0].T, expected)


def test_a_compressed_series_through_one_worker(forty: list[FileDataset], save: Save) -> None:
    plain = _read(save(forty))
    for ds in forty[:30]:  # the rest stay uncompressed: a series may mix
        ds.compress(RLELossless, generate_instance_uid=False)
    mixed = _read(save(forty, "mixed"))
    np.testing.assert_array_equal(mixed.voxels, plain.voxels)
    assert mixed.sha256 != plain.sha256


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_uncompressed_encodings_of_a_series(forty: list[FileDataset], save: Save, syntax: str) -> None:
    plain = _read(save(forty))
    for ds in forty:
        ds.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
    folder = save([], "other")
    for k, ds in enumerate(forty):
        pydicom.dcmwrite(folder / str(k), ds, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian)
    np.testing.assert_array_equal(_read(folder).voxels, plain.voxels)


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(("allocated", "stored"), [(8, 8), (16, 16), (16, 12), (32, 32), (32, 20)])
def test_every_depth_is_read_as_pydicom_reads_it(forty: list[FileDataset], save: Save, allocated: int, stored: int, signed: int) -> None:
    """Bits beyond BitsStored hold rubbish here, as old overlays do."""
    ds = forty[0]
    bits = np.random.default_rng(7).integers(0, 2**allocated, (ds.Rows, ds.Columns), np.uint64).astype(f"<u{allocated // 8}")
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = allocated, stored, stored - 1, signed
    ds.PixelData = bits.tobytes()
    folder = save([ds])
    voxels = _read(folder).voxels[:, :, 0].T
    np.testing.assert_array_equal(voxels, pixel_array(next(folder.iterdir()), raw=True))
    assert voxels.min() >= (-(2 ** (stored - 1)) if signed else 0)


def test_slices_of_unlike_sign_share_a_wider_type(forty: list[FileDataset], save: Save) -> None:
    forty[3].PixelRepresentation = 0
    scan = _read(save(forty))
    assert scan.voxels.dtype == np.int32
    assert scan.voxels[3, 5, 3] == 3 * 400 + 5 * 20 + 3


@pytest.mark.parametrize(("syntax", "name"), [("1.2.840.10008.1.2.4.102", "MPEG-4"), ("1.2.276.0.99.1", "1.2.276.0.99.1")])
def test_an_encoding_without_codec_names_itself_and_the_cure(forty: list[FileDataset], save: Save, syntax: str, name: str) -> None:
    folder = save(forty)
    for file in folder.iterdir():
        ds = pydicom.dcmread(file)
        ds.file_meta.TransferSyntaxUID = syntax
        ds.PixelData = encapsulate([b"\x00" * 20])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
        pydicom.dcmwrite(file, ds, enforce_file_format=False, implicit_vr=False, little_endian=True)
    with pytest.raises(UnsupportedFormat, match=f"{name}.*gdcmconv"):
        _read(folder)


def test_damaged_compressed_pixels_are_an_error(data_dir: Path, tmp_path: Path) -> None:
    for syntax in ("1.2.4.70", "1.2.4.80", "1.2.4.90", "1.2.5"):
        whole = _file(data_dir, syntax).read_bytes()
        (tmp_path / "cut.dcm").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(CorruptFile):
            _read(tmp_path / "cut.dcm")


def test_promises_are_judged_before_memory_is_asked_for(data_dir: Path, tmp_path: Path) -> None:
    ds = pydicom.dcmread(_file(data_dir, "1.2.4.90"))
    for rows, columns in ((65535, 65535), (4097, 16), (0, 512)):
        ds.Rows, ds.Columns = rows, columns
        ds.save_as(tmp_path / "bomb.dcm")
        with pytest.raises(BudgetExceeded, match="promises 1 slices"):
            _read(tmp_path / "bomb.dcm")


def test_a_deflate_bomb_and_a_cut_deflate_stream(forty: list[FileDataset], save: Save, tmp_path: Path) -> None:
    forty[0].file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file = next(save(forty[:1]).iterdir())
    whole = file.read_bytes()
    header = read_header(StudyFile(label="slice", size=len(whole), open=lambda: file.open("rb")))
    assert header is not None
    at = header.deflated_at
    file.write_bytes(whole[: len(whole) - 40])
    with pytest.raises(TruncatedFile, match="no end"):
        _read(file)
    packer = zlib.compressobj(level=1, wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(zlib.decompress(whole[at:], -zlib.MAX_WBITS))
    bomb += b"".join(packer.compress(bytes(1 << 20)) for _ in range(1100)) + packer.flush()
    file.write_bytes(whole[:at] + bomb)
    done = subprocess.run([sys.executable, "-c", ALONE, str(file)], capture_output=True, text=True, check=True)
    said, mebibytes = done.stdout.rsplit("\n", 2)[0], float(done.stdout.rsplit("\n", 2)[1])
    assert said.startswith("BudgetExceeded")
    assert mebibytes < 1024


def test_slices_between_slices_are_their_mean_and_padding_spreads() -> None:
    voxels = np.array([0, 3, 10], np.int16).reshape(3, 1, 1)
    places = np.array([0, 0.5, 1, 1.25, 2])
    np.testing.assert_array_equal(resample_slices(voxels, places).ravel(), [0, 2, 3, 5, 10])  # 1.5 and 4.75, rounded to even
    np.testing.assert_allclose(resample_slices(voxels.astype(np.float32), places).ravel(), [0, 1.5, 3, 4.75, 10])
    np.testing.assert_array_equal(resample_padding(np.array([True, False, False]).reshape(3, 1, 1), places).ravel(), [1, 1, 0, 0, 0])


def test_uneven_slices_are_resampled_where_it_is_asked_for(tmp_path: Path) -> None:
    """Eight slices at 20 mm, then four at 10 mm; one has padding."""
    z = [20.0 * k if k < 8 else 140.0 + 10 * (k - 7) for k in range(SLICES)]

    def make(k: int) -> FileDataset:
        stored = offset(k)
        if k == 2:
            stored[:3] = 65535
        return make_slice(k, stored, ImagePositionPatient=[-160, -160, z[k]], PixelPaddingValue=65535)

    volume = thoracle.read(write_series(tmp_path / "s", make), uneven="resample")
    units = HU.copy()
    units[2, :3] = -1000
    assert volume.spacing == (10, 10, 10)
    assert volume.array.shape == (32, 32, 19)  # 0 to 180 mm
    np.testing.assert_array_equal(volume.array[:, :, [0, 2, 4, 14, 15, 16, 17, 18]].T, units[[0, 1, 2, 7, 8, 9, 10, 11]])
    np.testing.assert_array_equal(volume.array[:, :, 1].T, np.rint((HU[0].astype(float) + HU[1]) / 2))
    assert (volume.array[:, :3, [3, 5]] == -1000).all()
    assert "resampled linearly to 10 mm, 19 slices made of 12" in "; ".join(volume.provenance.notes)

"""Random combinations of faults of DICOM series: each ends in a typed error, or in the voxels of the pristine series where they lie.

Faults that are read by themselves are read together too.

`pytest -s` prints how often each fault was read. The 2,000 combinations of `-m manual` are the same as far as the 200 go.
"""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

import thoracle
from tests.ct.dicom.chest_series import HU, INTERCEPT, MM, SIDE, SLICES, STEP_MM, make_slice
from thoracle.errors import ThoracleError

CORNERS = np.add.outer(np.square(np.arange(SIDE) - SIDE / 2 + 0.5), np.square(np.arange(SIDE) - SIDE / 2 + 0.5)) > (SIDE / 2) ** 2


@dataclass
class Series:
    """Files to be written, which faults change one after another, and what is asked of what is read from them."""

    slices: list[FileDataset] = field(default_factory=lambda: [make_slice(k) for k in range(SLICES)])
    names: list[str] = field(default_factory=lambda: [f"{k:03d}.dcm" for k in range(SLICES)])
    codec: tuple[str, int] | None = None  # compressed encoding, and PixelRepresentation once it is compressed
    syntax: str = ""  # uncompressed encoding, "" for explicit little endian
    is_defined: NDArray[np.bool_] = field(default_factory=lambda: np.ones(HU.shape, np.bool_))
    stripped: bool = False  # of preamble, meta header and SOP class
    written: list[Callable[[Path], None]] = field(default_factory=list)  # faults of files
    path: str = "series"

    def store(
        self, stored: Callable[[int], NDArray[np.integer[Any]]], *, bits: int, signed: bool, slope: object = 1, intercept: int = 0
    ) -> None:
        """Replace pixels, and what tells of them."""
        for k, ds in enumerate(self.slices):
            ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = stored(k).tobytes(), bits, bits - 1, int(signed)
            ds.RescaleSlope, ds.RescaleIntercept = slope, intercept

    def pad(self, *, limit: bool) -> None:
        """Store padding in the corners, and declare it."""
        signed, bits = bool(self.slices[0].PixelRepresentation), self.slices[0].BitsStored
        padding = -(2 ** (bits - 1)) if signed else 2**bits - 1
        for ds in self.slices:
            pixels = np.frombuffer(ds.PixelData, np.int16 if signed else np.uint16).copy().reshape(SIDE, SIDE)
            pixels[CORNERS] = padding
            ds.PixelData = pixels.tobytes()
            ds.add_new(0x00280120, "SS" if signed else "US", padding)
            if limit:
                ds.add_new(0x00280121, "SS" if signed else "US", padding + 8 if signed else padding - 8)
        self.is_defined[:, CORNERS] = False


def _signed(k: int) -> NDArray[np.int16]:
    return HU[k]


def _bits(bits: int) -> Callable[[int], NDArray[np.uint16]]:
    return lambda k: (HU[k].astype(np.int32) & (1 << bits) - 1).astype(np.uint16)


# Pixels


def _unsigned_codestream(series: Series) -> None:
    series.store(_bits(13), bits=13, signed=False)
    series.codec = (JPEG2000Lossless, 1)


def _signed_codestream(series: Series) -> None:
    series.store(_signed, bits=12, signed=True)
    series.codec = (JPEG2000Lossless, 0)


def _signed_jpeg_ls(series: Series) -> None:
    series.store(_signed, bits=12, signed=True)
    series.codec = (JPEGLSLossless, 1)


def _run_lengths(series: Series) -> None:
    series.codec = (RLELossless, 0)


def _junk_bits(series: Series) -> None:
    series.store(lambda k: _bits(12)(k) | np.uint16(0x5000 if k % 2 else 0xA000), bits=12, signed=True)


def _labelled_unsigned(series: Series) -> None:
    series.store(_signed, bits=16, signed=False)


def _specks(series: Series) -> None:
    chosen = (np.random.default_rng(3).random(HU.shape) < 0.01) & (HU < -900)
    series.store(lambda k: np.where(chosen[k], 65533, HU[k] - INTERCEPT).astype(np.uint16), bits=16, signed=False, intercept=INTERCEPT)
    series.is_defined[chosen] = False


def _small_slope(series: Series) -> None:
    series.store(lambda k: ((HU[k] - INTERCEPT) * 10).astype(np.uint16), bits=16, signed=False, slope="0.1", intercept=INTERCEPT)


def _slope_by_slice(series: Series) -> None:
    for k, ds in enumerate(series.slices):
        ds.RescaleSlope = 1 + k % 2
        ds.PixelData = np.rint((HU[k] - INTERCEPT) / ds.RescaleSlope).astype(np.uint16).tobytes()


# Units


def _lost_intercept(series: Series) -> None:
    for ds in series.slices[4:6]:
        ds.RescaleIntercept = 0 if ds.RescaleIntercept else INTERCEPT


def _lost_slope(series: Series) -> None:
    series.slices[7].RescaleSlope = 1 if series.slices[7].RescaleSlope != 1 else 2


def _no_rescale(series: Series) -> None:
    del series.slices[3].RescaleSlope


def _other_units(series: Series) -> None:
    for ds in series.slices:
        ds.RescaleType = "MGML"


# Places


def _move(change: Callable[[int], tuple[float, float, float]]) -> Callable[[Series], None]:
    def fault(series: Series) -> None:
        for k, ds in enumerate(series.slices):
            ds.ImagePositionPatient = [float(a) + b for a, b in zip(ds.ImagePositionPatient, change(k), strict=True)]

    return fault


def _missing(series: Series) -> None:
    del series.slices[5], series.names[5]


def _rows_flipped(series: Series) -> None:
    for ds in series.slices:
        ds.PixelData = np.frombuffer(ds.PixelData, np.uint16).reshape(SIDE, SIDE)[::-1].tobytes()
        x, y, z = map(float, ds.ImagePositionPatient)
        ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, -1, 0], [x, y + (SIDE - 1) * MM, z]


def _backward_spacing(series: Series) -> None:
    for ds in series.slices:
        ds.SpacingBetweenSlices = -STEP_MM


def _tilt_tag(series: Series) -> None:
    for ds in series.slices:
        ds.GantryDetectorTilt = 12


# Texts


def _rewrite(before: bytes, after: bytes) -> Callable[[Series], None]:
    def on_disk(folder: Path) -> None:
        for file in folder.rglob("*"):
            if file.is_file() and not file.is_symlink():
                file.write_bytes(file.read_bytes().replace(before, after))

    return lambda series: series.written.insert(0, on_disk)


def _long_decimals(series: Series) -> None:
    for ds in series.slices:
        ds[0x00280030] = DataElement(0x00280030, "DS", ["10.00000000000000000000", "10.00000000000000000000"], validation_mode=0)


def _junk_tags(series: Series) -> None:
    for ds in series.slices:
        ds[0x00200012] = DataElement(0x00200012, "IS", "4", validation_mode=0)
        ds[0x00101010] = DataElement(0x00101010, "AS", "ANON", validation_mode=0)
        ds[0x00080005] = DataElement(0x00080005, "CS", "ISO_IR 999", validation_mode=0)
        ds.PatientName = "M\xfcller"
        ds.add_new(0x00091010, "UN", b"\xff\xfe\r\n" * 500)


# Files


def _encoded(syntax: str) -> Callable[[Series], None]:
    return lambda series: setattr(series, "syntax", syntax)


def _append(content: bytes) -> Callable[[Series], None]:
    def on_disk(folder: Path) -> None:
        for file in folder.rglob("*.dcm"):
            file.write_bytes(file.read_bytes() + content)

    return lambda series: series.written.append(on_disk)


def _on_disk(change: Callable[[Path], None]) -> Callable[[Series], None]:
    return lambda series: series.written.append(change)


def _cut(folder: Path) -> None:
    file = folder / "004.dcm"
    if file.exists():
        file.write_bytes(file.read_bytes()[:-200])


def _copy(folder: Path) -> None:
    for file in folder.glob("007.dcm"):
        shutil.copy(file, folder / "007(1).dcm")


def _links(folder: Path) -> None:
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    for file in sorted(folder.glob("*.dcm"))[::2]:
        shutil.move(file, elsewhere / file.name)
        file.symlink_to(elsewhere / file.name)


def _nested(folder: Path) -> None:
    for k, file in enumerate(sorted(folder.glob("*.dcm"))):
        (folder / f"disk {k % 3}").mkdir(exist_ok=True)
        shutil.move(file, folder / f"disk {k % 3}" / file.name)


def _notes(folder: Path) -> None:
    (folder / "README.txt").write_text("notes\r\n")
    (folder / "._004.dcm").write_bytes(bytes.fromhex("00051607") + bytes(300))
    (folder / "empty.dcm").write_bytes(b"")


def _zip(series: Series) -> None:
    def on_disk(folder: Path) -> None:
        with zipfile.ZipFile(folder.parent / "series.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    archive.write(file, str(file.relative_to(folder)))

    series.written.append(on_disk)
    series.path = "series.zip"


def _shuffled(series: Series) -> None:
    series.names = [f"{(7 * k + 5) % 101:03d}.dcm" for k in range(len(series.names))]


def _add(make: Callable[[], FileDataset]) -> Callable[[Series], None]:
    return lambda series: series.written.append(lambda folder: make().save_as(folder / "extra.dcm", enforce_file_format=False))


def _scout(kind: str) -> FileDataset:
    ds = make_slice(90, np.zeros((24, 48), np.uint16), ImageOrientationPatient=[1, 0, 0, 0, 0, -1], ImagePositionPatient=[-160, 0, 300])
    ds.ImageType = ["ORIGINAL", "PRIMARY", kind]
    return ds


def _dose_report() -> FileDataset:
    ds = make_slice(0, SOPInstanceUID="1.2.99", SeriesInstanceUID="1.2.3.9", Modality="SR", PixelData=None)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.67"
    return ds


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault; at most one of a kind is drawn. `alone` says what becomes of a series that has no other."""

    kind: str
    apply: Callable[[Series], None]
    alone: str  # "read" or "refused"


FAULTS: dict[str, Fault] = {
    "JPEG 2000 unsigned, header signed": Fault(kind="pixels", apply=_unsigned_codestream, alone="read"),
    "JPEG 2000 signed, header unsigned": Fault(kind="pixels", apply=_signed_codestream, alone="read"),
    "JPEG-LS signed of 12 bits": Fault(kind="pixels", apply=_signed_jpeg_ls, alone="read"),
    "RLE": Fault(kind="pixels", apply=_run_lengths, alone="read"),
    "junk above BitsStored": Fault(kind="pixels", apply=_junk_bits, alone="read"),
    "Hounsfield units labelled unsigned": Fault(kind="pixels", apply=_labelled_unsigned, alone="read"),
    "specks of -3 labelled unsigned": Fault(kind="pixels", apply=_specks, alone="read"),
    "slope 0.1": Fault(kind="pixels", apply=_small_slope, alone="read"),
    "slope by slice": Fault(kind="pixels", apply=_slope_by_slice, alone="read"),
    "padding": Fault(kind="padding", apply=lambda series: series.pad(limit=False), alone="read"),
    "padding of a range": Fault(kind="padding", apply=lambda series: series.pad(limit=True), alone="read"),
    "lost intercept": Fault(kind="units", apply=_lost_intercept, alone="refused"),
    "lost slope": Fault(kind="units", apply=_lost_slope, alone="refused"),
    "no rescale in a slice": Fault(kind="units", apply=_no_rescale, alone="refused"),
    "RescaleType MGML": Fault(kind="units", apply=_other_units, alone="refused"),
    "missing slice": Fault(kind="places", apply=_missing, alone="refused"),
    "distance changes": Fault(kind="places", apply=_move(lambda k: (0, 0, -10.0 * max(0, k - 6))), alone="refused"),
    "tilt": Fault(kind="places", apply=_move(lambda k: (0, 3.0 * k, 0)), alone="refused"),
    "displaced slice": Fault(kind="places", apply=_move(lambda k: (0, 0, 6.0 * (k == 4))), alone="refused"),
    "two slices at a place": Fault(kind="places", apply=_move(lambda k: (0, 0, -20.0 * (k == 4))), alone="refused"),
    "rows flipped": Fault(kind="places", apply=_rows_flipped, alone="read"),
    "SpacingBetweenSlices negative": Fault(kind="places", apply=_backward_spacing, alone="read"),
    "tilt in the tag alone": Fault(kind="places", apply=_tilt_tag, alone="read"),
    "decimal commas": Fault(kind="texts", apply=_rewrite(b"10.0\\10.0", b"10,0\\10,0"), alone="read"),
    "semicolons": Fault(kind="texts", apply=_rewrite(b"10.0\\10.0", b"10.0;10.0"), alone="read"),
    "numbers that are none": Fault(kind="texts", apply=_rewrite(b"10.0\\10.0", b"10.0\\1O.0"), alone="refused"),
    "overlong decimals": Fault(kind="texts", apply=_long_decimals, alone="read"),
    "junk tags": Fault(kind="tags", apply=_junk_tags, alone="read"),
    "implicit encoding": Fault(kind="encoding", apply=_encoded(ImplicitVRLittleEndian), alone="read"),
    "big endian": Fault(kind="encoding", apply=_encoded(ExplicitVRBigEndian), alone="read"),
    "deflated": Fault(kind="encoding", apply=_encoded(DeflatedExplicitVRLittleEndian), alone="read"),
    "encoding mislabelled": Fault(
        kind="encoding", apply=_rewrite(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2\x00\x00\x00"), alone="read"
    ),
    "stripped of meta header": Fault(kind="encoding", apply=lambda series: setattr(series, "stripped", True), alone="read"),
    "line end after the file": Fault(kind="tail", apply=_append(b"\r\n"), alone="read"),
    "zeros after the file": Fault(kind="tail", apply=_append(bytes(512)), alone="read"),
    "cut file": Fault(kind="tail", apply=_on_disk(_cut), alone="refused"),
    "copy of a file": Fault(kind="copy", apply=_on_disk(_copy), alone="read"),
    "links": Fault(kind="layout", apply=_on_disk(_links), alone="read"),
    "nested folders": Fault(kind="layout", apply=_on_disk(_nested), alone="read"),
    "archive": Fault(kind="archive", apply=_zip, alone="read"),
    "names in another order": Fault(kind="names", apply=_shuffled, alone="read"),
    "stray files": Fault(kind="stray", apply=_on_disk(_notes), alone="read"),
    "scout": Fault(kind="extra", apply=_add(lambda: _scout("LOCALIZER")), alone="read"),
    "scout without the word": Fault(kind="extra", apply=_add(lambda: _scout("AXIAL")), alone="refused"),
    "dose report": Fault(kind="extra", apply=_add(_dose_report), alone="read"),
}
#: An archive comes after all that is done to files.
ORDER = (
    "pixels",
    "padding",
    "units",
    "places",
    "tags",
    "texts",
    "encoding",
    "names",
    "copy",
    "tail",
    "layout",
    "stray",
    "extra",
    "archive",
)


def _write(series: Series, folder: Path) -> Path:
    folder.mkdir()
    for ds, name in zip(series.slices, series.names, strict=True):
        syntax = "" if series.codec else series.syntax
        if series.codec:
            ds.compress(series.codec[0], generate_instance_uid=False)
            ds.PixelRepresentation = series.codec[1]
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        if syntax:
            ds.file_meta.TransferSyntaxUID = syntax
        if series.stripped:
            del ds.SOPClassUID
            ds.preamble = None
            meta, ds.file_meta = ds.file_meta, FileMetaDataset()
            if series.codec:
                ds.file_meta.TransferSyntaxUID = meta.TransferSyntaxUID
            else:
                syntax = ImplicitVRLittleEndian
        implicit, big = syntax == ImplicitVRLittleEndian, syntax == ExplicitVRBigEndian
        pydicom.dcmwrite(folder / name, ds, implicit_vr=implicit, little_endian=not big, enforce_file_format=False)
    for change in series.written:
        change(folder)
    return folder.parent / series.path


def _outcome(names: list[str], root: Path) -> str:
    """Apply the faults and read: "read", or the error's class; what is read and differs fails."""
    faults = sorted((FAULTS[name] for name in names), key=lambda fault: ORDER.index(fault.kind))
    series = Series()
    for fault in faults:
        fault.apply(series)
    path = _write(series, root / "series")
    try:
        volume = thoracle.read(path)
    except ThoracleError as error:
        return type(error).__name__
    assert volume.array.shape == (SIDE, SIDE, SLICES), names
    np.testing.assert_allclose(volume.affine, [[MM, 0, 0, -160], [0, MM, 0, -160], [0, 0, STEP_MM, 0], [0, 0, 0, 1]], atol=1e-3)
    differing = np.abs(volume.array.T - HU)[series.is_defined] > 1
    assert not differing.any(), f"{names}: {np.count_nonzero(differing)} voxels differ, {volume.provenance.notes}"
    return "read"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_by_itself(tmp_path: Path, name: str) -> None:
    outcome = _outcome([name], tmp_path)
    expected = FAULTS[name].alone
    print(f"{name}: {outcome}")
    assert expected == "either" or (outcome == "read") == (expected == "read"), outcome


combinations = st.lists(st.sampled_from(sorted(FAULTS)), min_size=1, max_size=3, unique_by=lambda name: FAULTS[name].kind)


def _run(tmp_path: Path, examples: int) -> None:
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in FAULTS}
    count = 0

    @settings(max_examples=examples, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(names=combinations)
    def check(names: list[str]) -> None:
        nonlocal count
        count += 1
        root = tmp_path / str(count)
        root.mkdir()
        outcome = _outcome(names, root)
        assert outcome == "read" or any(FAULTS[name].alone != "read" for name in names), (names, outcome)
        shutil.rmtree(root)
        for name in names:
            outcomes[name][outcome] += 1

    check()
    print(f"\n{count} combinations")
    for name, results in outcomes.items():
        rest = ", ".join(f"{error} {number}" for error, number in results.most_common() if error != "read")
        print(f"{name:36} {results['read']:4} of {results.total():4} read   {rest}")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_sixty_combinations(tmp_path: Path) -> None:
    _run(tmp_path, 60)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_two_hundred_combinations(tmp_path: Path) -> None:
    _run(tmp_path, 200)


@pytest.mark.manual
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_two_thousand_combinations(tmp_path: Path) -> None:
    _run(tmp_path, 2000)

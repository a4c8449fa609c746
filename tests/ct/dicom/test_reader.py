"""A series in, stored voxels out; and for each way a series can be wrong, the error that says so."""

from __future__ import annotations

import hashlib
import os
import warnings
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import nrrd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset

from thoracle.ct.dicom.reader import read_dicom
from thoracle.ct.stored import Rescale, StoredScan
from thoracle.errors import (
    CorruptFile,
    DuplicateSlices,
    GantryTilt,
    GeometryInvalid,
    GeometryUnknown,
    HounsfieldUnknown,
    MixedSeries,
    NotCT,
    RescaleMissing,
    ScanUnreadable,
    SliceGap,
    ThoracleError,
    TooFewSlices,
    TruncatedFile,
    UnsupportedFormat,
)

Slices = list[FileDataset]
Save = Callable[..., Path]


def _read(path: Path, *, series: str | None = None, hu: str = "auto", min_slices: int = 10) -> StoredScan:
    return read_dicom(path, series=series, hu=hu, min_slices=min_slices)


def test_voxels_affine_and_tags_of_forty_slices(forty: Slices, save: Save) -> None:
    scan = _read(save(forty))
    assert scan.voxels.shape == (10, 12, 40)
    assert scan.voxels.dtype == np.int16
    assert scan.voxels[3, 5, 7] == 7 * 400 + 5 * 20 + 3  # column, row, slice
    assert scan.voxels.T.flags.c_contiguous  # a view of slices as they were read, not a copy
    np.testing.assert_allclose(scan.affine, [[0.7, 0, 0, -100], [0, 0.8, 0, -120.5], [0, 0, 1.25, -300], [0, 0, 0, 1]])
    assert scan.rescale == Rescale(slope=1, intercept=-1024, source="RescaleSlope/RescaleIntercept")
    assert scan.format == "DICOM series"
    assert "ImagePositionPatient" in scan.geometry
    assert (scan.tags.contrast, scan.tags.age_years, scan.tags.body_part, scan.tags.kernel, scan.tags.modality) == (
        *(True, 61.0, "CHEST", "B30f", "CT"),
    )


def test_the_hash_is_over_the_files_in_slice_order(forty: Slices, save: Save) -> None:
    folder = save(forty)
    in_order = sorted(folder.iterdir(), key=lambda f: float(pydicom.dcmread(f).ImagePositionPatient[2]))
    digests = b"".join(hashlib.sha256(f.read_bytes()).digest() for f in in_order)
    assert _read(folder).sha256 == hashlib.sha256(digests).hexdigest()
    one = in_order[0]
    assert _read(one, min_slices=1).sha256 == hashlib.sha256(one.read_bytes()).hexdigest()


def test_the_whole_chest_is_the_same_as_its_nrrd(data_dir: Path) -> None:
    scan = _read(data_dir / "dicom" / "cip_ct64")
    voxels, header = nrrd.read(str(data_dir / "volumes" / "cip_ct-64.nrrd"))
    np.testing.assert_array_equal(scan.voxels, voxels)
    assert scan.affine is not None
    np.testing.assert_allclose(scan.affine[:3, :3], header["space directions"].T, rtol=1e-4)
    np.testing.assert_allclose(scan.affine[:3, 3], header["space origin"], atol=1e-3)


def test_real_series(data_dir: Path) -> None:
    lidc = _read(data_dir / "dicom" / "lidc_0001")  # file names that begin with "-"
    assert lidc.voxels.shape == (512, 512, 16)
    assert lidc.affine is not None
    np.testing.assert_allclose(np.diag(lidc.affine), [0.703125, 0.703125, 2.5, 1])
    assert (lidc.affine[2, 3], lidc.voxels.min(), lidc.voxels.max(), lidc.tags.contrast) == (-132.5, -1024, 4095, True)
    last = pydicom.dcmread(data_dir / "dicom" / "lidc_0001" / "-95.000000.dcm").pixel_array
    np.testing.assert_array_equal(lidc.voxels[:, :, -1].T, last)
    lungmask = _read(data_dir / "dicom" / "lungmask", min_slices=2)  # Modality is absent, its SOP class is CT's
    assert (lungmask.voxels.shape, lungmask.voxels.min(), lungmask.voxels.max()) == ((512, 512, 2), -2048, 1502)
    with pytest.raises(TooFewSlices):
        _read(data_dir / "dicom" / "lungmask")


@pytest.mark.parametrize(
    ("name", "dtype", "source"),
    [
        ("varying_intercept", np.float32, "RescaleSlope/RescaleIntercept of each slice"),
        ("varying_slope", np.float32, "RescaleSlope/RescaleIntercept of each slice"),
        ("varying_window_level", np.int16, "RescaleSlope/RescaleIntercept"),
    ],
)
def test_real_rescale_that_varies_by_slice(data_dir: Path, name: str, dtype: type, source: str) -> None:
    scan = _read(data_dir / "dicom" / name, min_slices=2)
    files = [pydicom.dcmread(data_dir / "dicom" / name / f"{k}.dcm") for k in (1, 2)]
    expected = np.stack([f.pixel_array * float(f.RescaleSlope) + float(f.RescaleIntercept) for f in files])
    assert scan.rescale == Rescale(slope=1, intercept=0, source=source)
    assert scan.voxels.dtype == dtype
    np.testing.assert_allclose(scan.voxels.T, expected, rtol=1e-6)


def test_whole_rescales_that_vary_stay_int16(forty: Slices, save: Save) -> None:
    forty[4].RescaleSlope, forty[4].RescaleIntercept = 2, -1000
    scan = _read(save(forty))
    assert scan.voxels.dtype == np.int16
    assert scan.voxels[3, 5, 4] == 2 * (4 * 400 + 5 * 20 + 3) - 1000
    assert scan.voxels[3, 5, 5] == 5 * 400 + 5 * 20 + 3 - 1024
    stated = _read(save(forty), hu="stored")
    assert stated.rescale is None
    assert stated.voxels[3, 5, 4] == 4 * 400 + 5 * 20 + 3


def test_missing_rescale_is_refused_unless_stated(forty: Slices, save: Save) -> None:
    del forty[9].RescaleIntercept
    with pytest.raises(RescaleMissing, match=r"1 of 40.*--hu stored"):
        _read(save(forty))
    assert _read(save(forty), hu="stored").rescale is None
    with pytest.raises(RescaleMissing):
        _read(save(forty), hu="rescale")


def _pop(slices: Slices) -> None:
    del slices[17]


def _each(keyword: str, value: object) -> Callable[[Slices], None]:
    def damage(slices: Slices) -> None:
        for ds in slices:
            setattr(ds, keyword, value)

    return damage


def _one(keyword: str, value: object) -> Callable[[Slices], None]:
    return lambda slices: setattr(slices[17], keyword, value)


def _without(keyword: str, count: int = 40) -> Callable[[Slices], None]:
    def damage(slices: Slices) -> None:
        for ds in slices[:count]:
            delattr(ds, keyword)

    return damage


def _moved(offset: Callable[[int], tuple[float, float, float]]) -> Callable[[Slices], None]:
    def damage(slices: Slices) -> None:
        for k, ds in enumerate(slices):
            ds.ImagePositionPatient = [float(a) + b for a, b in zip(ds.ImagePositionPatient, offset(k), strict=True)]

    return damage


def _another(ds: FileDataset) -> FileDataset:
    other = deepcopy(ds)
    other.SOPInstanceUID = f"{ds.SOPInstanceUID}.1"
    return other


def _smaller(slices: Slices) -> None:
    slices[17].Rows = 11
    slices[17].PixelData = slices[17].PixelData[: 11 * 10 * 2]


def _float_pixels(slices: Slices) -> None:
    for ds in slices:
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 32, 32, 31
        ds.FloatPixelData = bytes(480)
        del ds.PixelData


TILTED = [1, 0, 0, 0, float(np.cos(0.2)), float(-np.sin(0.2))]
DAMAGE: dict[str, tuple[Callable[[Slices], None], type[ThoracleError]]] = {
    "a slice is missing": (_pop, SliceGap),
    "half of the steps are longer": (_moved(lambda k: (0, 0, 0.4 * max(0, k - 20))), SliceGap),
    "one slice is displaced": (_moved(lambda k: (0, 0, 0.3 * (k == 9))), SliceGap),
    "another slice lies where one does": (lambda s: s.append(_another(s[17])), DuplicateSlices),
    "two volumes at the same positions, and nothing tells them apart": (lambda s: s.extend([_another(ds) for ds in s]), DuplicateSlices),
    "all positions are equal": (_each("ImagePositionPatient", [0, 0, 0]), DuplicateSlices),
    "a gantry tilted against the couch": (_each("ImageOrientationPatient", TILTED), GantryTilt),
    "a tilt of half a degree": (_moved(lambda k: (0, 1.25 * k * np.tan(np.radians(0.5)), 0)), GantryTilt),
    "tilt hides in few slices": (lambda s: (_each("ImageOrientationPatient", TILTED)(s), s.__delitem__(slice(4, 40))), GantryTilt),
    "the field of view moves sideways": (_moved(lambda k: (3.0 * (k > 20), 0, 0)), MixedSeries),
    "one slice is sagittal": (_one("ImageOrientationPatient", [0, 1, 0, 0, 0, -1]), MixedSeries),
    "one slice has another spacing": (_one("PixelSpacing", [0.8, 0.71]), MixedSeries),
    "one slice has fewer rows": (_smaller, MixedSeries),
    "no positions": (_without("ImagePositionPatient"), GeometryUnknown),
    "one position lacks": (_without("ImagePositionPatient", 1), GeometryUnknown),
    "no orientation": (_without("ImageOrientationPatient"), GeometryUnknown),
    "no spacing": (_without("PixelSpacing"), GeometryUnknown),
    "spacing is zero": (_each("PixelSpacing", [0, 0]), GeometryInvalid),
    "spacing is negative": (_each("PixelSpacing", [-0.8, 0.7]), GeometryInvalid),
    "spacing is one number": (_each("PixelSpacing", [0.8]), GeometryInvalid),
    "spacing is NaN": (_each("PixelSpacing", ["NaN", "NaN"]), GeometryInvalid),
    "a position is NaN": (_one("ImagePositionPatient", ["nan", "0", "0"]), GeometryInvalid),
    "a position is infinite": (_one("ImagePositionPatient", ["0", "0", "1e400"]), GeometryInvalid),
    "orientation is zero": (_each("ImageOrientationPatient", [0, 0, 0, 0, 0, 0]), GeometryInvalid),
    "orientation is not perpendicular": (_each("ImageOrientationPatient", [1, 0, 0, 0.6, 0.8, 0]), GeometryInvalid),
    "nine slices": (lambda s: s.__delitem__(slice(9, 40)), TooFewSlices),
    "no rescale": (_without("RescaleSlope"), RescaleMissing),
    "rescale is no number": (_each("RescaleIntercept", "NaN"), CorruptFile),
    "slope is zero": (_each("RescaleSlope", 0), HounsfieldUnknown),
    "rows are absent": (_without("Rows"), CorruptFile),
    "fewer pixels than rows and columns": (_one("PixelData", bytes(100)), TruncatedFile),
    "two images in one": (_one("PixelData", bytes(480)), CorruptFile),
    "bits contradict": (_each("BitsStored", 17), CorruptFile),
    "24 bits": (_each("BitsAllocated", 24), UnsupportedFormat),
    "colour": (_each("PhotometricInterpretation", "PALETTE COLOR"), NotCT),
    "three samples": (_each("SamplesPerPixel", 3), NotCT),
    "MR": (_each("Modality", "MR"), NotCT),
    "PET": (_each("Modality", "PT"), NotCT),
    "a localizer": (_each("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]), NotCT),
    "pixels are floats": (_float_pixels, CorruptFile),
    "no pixels": (_without("PixelData"), TruncatedFile),
    "no transfer syntax": (lambda s: s[17].file_meta.__delattr__("TransferSyntaxUID"), CorruptFile),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_each_damage_to_forty_slices_is_refused(forty: Slices, save: Save, kind: str) -> None:
    damage, expected = DAMAGE[kind]
    folder = save(forty)
    damage(forty)
    for file in folder.iterdir():
        file.unlink()
    for k, ds in enumerate(forty):
        ds.save_as(folder / str(k), enforce_file_format=False, implicit_vr=False, little_endian=True)
    with pytest.raises(expected) as caught:
        _read(folder)
    assert "SECRET" not in str(caught.value)
    assert type(caught.value) is expected


MALFORMED: dict[str, type[ThoracleError]] = {
    "CT_small.dcm": TooFewSlices,
    "JPEG2000-embedded-sequence-delimiter.dcm": NotCT,
    "MR_truncated.dcm": NotCT,
    "badVR.dcm": NotCT,
    "bad_sequence.dcm": TooFewSlices,
    "emri_small_jpeg_2k_lossless_too_short.dcm": NotCT,
    "meta_missing_tsyntax.dcm": CorruptFile,
    "no-pixel-data.dcm": NotCT,
    "no-pixel-spacing.dcm": NotCT,
    "no_meta.dcm": UnsupportedFormat,
    "no_meta_group_length.dcm": NotCT,
    "rtplan_truncated.dcm": NotCT,
}
IRREGULAR: dict[str, type[ThoracleError]] = {
    "gantrytilting/001": GantryTilt,
    "notavolume/001": DuplicateSlices,
    "slicecount/001": NotCT,  # it is MR
    "sliceincrement/001": SliceGap,
    "sliceincrement/002": GantryTilt,  # and a slice is missing
    "sliceorientation/001": NotCT,  # it is MR
}


def test_malformed_files(data_dir: Path) -> None:
    folder = data_dir / "malformed" / "dicom"
    assert sorted(MALFORMED) == sorted(f.name for f in folder.iterdir())
    for name, expected in MALFORMED.items():
        with pytest.raises(ThoracleError) as caught:
            _read(folder / name)
        assert type(caught.value) is expected, name
    assert _read(folder / "CT_small.dcm", min_slices=1).voxels.shape == (128, 128, 1)  # the good control


@pytest.mark.parametrize("name", IRREGULAR)
def test_irregular_series(data_dir: Path, name: str) -> None:
    with pytest.raises(ThoracleError) as caught:
        _read(data_dir / "dicom" / "irregular" / name)
    assert type(caught.value) is IRREGULAR[name]


def test_a_truncated_slice_is_told(forty: Slices, save: Save) -> None:
    folder = save(forty)
    file = next(folder.glob("*-17.dcm"))
    whole = file.read_bytes()
    for length in (len(whole) - 2, len(whole) - 240, len(whole) // 2, 300):
        file.write_bytes(whole[:length])
        with pytest.raises(TruncatedFile, match=file.name):
            _read(folder)


def test_damage_in_another_series_does_not_touch_the_series_that_is_read(forty: Slices, save: Save) -> None:
    folder = save(forty)
    expected = _read(folder)
    scout = deepcopy(forty[0])
    scout.SeriesInstanceUID, scout.SOPInstanceUID, scout.ImageType = "1.2.3.4", "1.2.3.4.1", ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.save_as(folder / "LOC000")
    whole = (folder / "LOC000").read_bytes()
    for length in (len(whole) - 2, len(whole) - 300):
        (folder / "LOC000").write_bytes(whole[:length])
        for uid in (None, forty[0].SeriesInstanceUID):
            scan = _read(folder, series=uid)
            np.testing.assert_array_equal(scan.voxels, expected.voxels)
            assert scan.repaired == ("damaged files of other series: 1",)
            assert scan.tags.warnings == ()
        with pytest.raises(TruncatedFile, match="LOC000"):
            _read(folder, series="1.2.3.4")
    (folder / "LOC000").unlink()
    for ds in forty[:12]:  # another patient's series, one of whose files is damaged in its number of frames
        ds.SeriesInstanceUID, ds.SOPInstanceUID, ds.PatientID = "1.2.3.5", f"{ds.SOPInstanceUID}.1", "another"
        ds.save_as(folder / f"other-{ds.InstanceNumber}")
    forty[3].add_new("NumberOfFrames", "IS", "-7")
    forty[3].save_as(folder / "other-4")
    scan = _read(folder)
    np.testing.assert_array_equal(scan.voxels, expected.voxels)
    assert "damaged files of other series: 1" in scan.repaired
    with pytest.raises(CorruptFile, match="other-4: NumberOfFrames"):
        _read(folder, series="1.2.3.5")


@pytest.mark.parametrize(
    "content",
    [
        b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + b"\xff" * 500,
        b"\x08\x00\x05\x00\x04\x00\x00\x00" + b"\x01\x02\x03" * 900,
        bytes(128) + b"DICM" + b"\xff" * 400,
    ],
    ids=["explicit", "implicit", "preamble"],
)
def test_a_stray_file_that_begins_as_dicom_refuses_no_series(forty: Slices, save: Save, content: bytes) -> None:
    folder = save(forty)
    (folder / "stray.bin").write_bytes(content)
    scan = _read(folder)
    assert scan.voxels.shape[2] == 40
    assert not any("SECRET" in note for note in scan.repaired)
    assert sum("stray.bin" in note for note in scan.repaired) <= 1  # some are no DICOM after all


def test_a_damaged_file_of_no_series_is_named_where_the_others_make_a_volume(forty: Slices, save: Save) -> None:
    folder = save(forty)
    end = next(folder.glob("*-39.dcm"))
    end.write_bytes(end.read_bytes()[:300])
    scan = _read(folder)
    assert scan.voxels.shape[2] == 39
    assert scan.repaired == (f"damaged, of no series that can be told: {end.name}",)
    assert len(scan.tags.warnings) == 1
    assert end.name not in scan.tags.warnings[0]  # warnings go into tables
    (folder / "empty.dcm").write_bytes(b"")
    assert _read(folder).repaired[0] == "called DICOM, and none: empty.dcm"


def test_a_file_that_may_not_be_opened_is_named(forty: Slices, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(forty)
    opened = Path.open

    def refusing(path: Path, *arguments: str) -> object:
        if path.name in refused:
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments)

    monkeypatch.setattr(Path, "open", refusing)
    refused = {next(folder.glob("*-39.dcm")).name}
    assert _read(folder).repaired == (f"cannot be read: {min(refused)}",)
    refused = {next(folder.glob("*-20.dcm")).name}
    with pytest.raises(ScanUnreadable, match=r"-20\.dcm: Permission denied"):
        _read(folder)


def test_the_files_of_a_series_are_read_without_a_search(forty: Slices, save: Save) -> None:
    folder = save(forty)
    files = sorted(folder.iterdir())
    expected = _read(folder)
    (folder / "stray").write_bytes(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + b"\xff" * 500)
    scan = read_dicom(folder, series=None, hu="auto", min_slices=10, files=files)
    assert (scan.sha256, scan.repaired) == (expected.sha256, ())
    fewer = [file for file in files if not file.name.endswith("-39.dcm")]
    assert read_dicom(folder, series=None, hu="auto", min_slices=10, files=fewer).voxels.shape[2] == 39


def test_nested_folders_strange_names_an_index_and_notes_are_no_trouble(forty: Slices, save: Save) -> None:
    flat = save(forty)
    folder = save([], "nested")
    for k, file in enumerate(sorted(flat.iterdir())):
        (folder / f"disk{k % 3}" / "IMAGES").mkdir(parents=True, exist_ok=True)
        (folder / f"disk{k % 3}" / "IMAGES" / f"IM{k:06d}").write_bytes(file.read_bytes())
    forty[0].SOPClassUID = forty[0].file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    forty[0].save_as(folder / "DICOMDIR")
    (folder / "README.txt").write_text("notes")
    (folder / "empty").write_bytes(b"")
    (folder / "._IM000001.dcm").write_bytes(bytes(300))
    nested = _read(folder)
    np.testing.assert_array_equal(nested.voxels, _read(flat).voxels)
    assert nested.repaired == ()
    with pytest.raises(UnsupportedFormat, match="folder it lies in"):
        _read(folder / "DICOMDIR")


def test_an_archive_gives_what_its_folder_gives(forty: Slices, save: Save, tmp_path: Path) -> None:
    folder = save(forty)
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.iterdir():
            archive.write(file, f"a/b/{file.name}")
        archive.writestr("a/report.pdf", b"%PDF-1.4")
    zipped, plain = _read(tmp_path / "study.zip"), _read(folder)
    np.testing.assert_array_equal(zipped.voxels, plain.voxels)
    assert zipped.sha256 == plain.sha256


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_tilt_tag_alone_is_only_mentioned(forty: Slices, save: Save) -> None:
    for tag, said in ((12, True), (0, False), ("NaN", False)):
        for ds in forty:
            ds.GantryDetectorTilt = tag
        assert ("GantryDetectorTilt 12" in _read(save(forty)).geometry) == said


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("age", "years"), [("061Y", 61), ("6M", 0.5), ("052W", 364 / 365.25), ("003D", 3 / 365.25), ("000Y", None), ("", None)]
)
def test_age(forty: Slices, save: Save, age: str, years: float | None) -> None:
    for ds in forty:
        ds.PatientAge = age
        ds.ContrastBolusAgent = ""
    tags = _read(save(forty)).tags
    assert tags.age_years == (None if years is None else pytest.approx(years))
    assert tags.contrast is None


def test_derived_images_are_read_with_a_warning(forty: Slices, save: Save) -> None:
    assert _read(save(forty)).tags.warnings == ()
    for ds in forty:
        ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MIP"]
    scan = _read(save(forty))
    assert scan.repaired == ("derived image: maximum intensity projection",)
    assert scan.tags.warnings == ("The images are derived (maximum intensity projection), not a reconstruction in Hounsfield units.",)


def test_a_reconstruction_is_taken_beside_its_projection(forty: Slices, save: Save) -> None:
    projection = deepcopy(forty)
    for ds in projection:
        ds.SeriesInstanceUID, ds.SOPInstanceUID, ds.ImageType = "1.2.3", f"1.2.3.{ds.InstanceNumber}", ["DERIVED", "SECONDARY", "MIP"]
    scan = _read(save([*projection, *forty]))
    assert scan.tags.warnings == ()
    assert scan.repaired == ("1 of 2 series: the only axial CT with 20 slices or more",)


def test_one_slice_needs_its_thickness(forty: Slices, save: Save) -> None:
    one = _read(save(forty[:1]), min_slices=1)
    assert one.affine is not None
    assert one.affine[2, 2] == 2.5
    assert "SliceThickness" in one.geometry
    del forty[0].SliceThickness
    with pytest.raises(GeometryUnknown, match="SliceThickness"):
        _read(save(forty[:1]), min_slices=1)


def test_no_patient_in_what_is_read(forty: Slices, save: Save) -> None:
    scan = _read(save(forty))
    said = repr([getattr(scan, name) for name in ("geometry", "rescale", "format", "sha256", "tags", "repaired")])
    assert "SECRET" not in said
    assert "1.2.826" not in said
    assert "/" not in said.replace("RescaleSlope/", "")


def test_nothing_is_printed_warned_or_logged(data_dir: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in sorted((data_dir / "malformed" / "dicom").iterdir()):
            with pytest.raises(ThoracleError):
                _read(path)
        for path in sorted((data_dir / "dicom" / "transfer_syntaxes").glob("*Deflated*")):
            _read(path, min_slices=1)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_what_is_no_dicom(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a scan")
    (tmp_path / "scan.nii.gz").write_bytes(b"\x1f\x8b")
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    with pytest.raises(UnsupportedFormat, match="Give the NIfTI file itself"):
        _read(tmp_path)
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.write(tmp_path / "scan.nii.gz", "scan.nii.gz")
    with pytest.raises(UnsupportedFormat, match="Unzip it"):
        _read(tmp_path / "scan.zip")

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

import thoracle
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.inference.batch.discover_scans import ScanLocation, find_scans
from thoracle.inference.batch.result_table import ResultTable
from thoracle.inference.batch.runner import ReadOptions, ScanOutcome, process_scans
from thoracle.inference.batch.scan_source import pending_scans, source_stamp
from thoracle.inference.demo.assets import write_scan
from thoracle.inference.prepare import PreparedVolume

SMALL = PreprocessConfig(spacing=(20, 20, 20), size=(16, 16, 16))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.csv"


def mean(scan: ScanLocation, prepared: PreparedVolume) -> Sequence[str]:
    return [f"{prepared.array.mean():.6f}"]


def detect(out: Path, *paths: Path, reading: ReadOptions | None = None) -> list[ScanOutcome]:
    """One run of a command."""
    reading = reading or ReadOptions()
    with ResultTable(out, columns=("mean",), settings={}) as table:
        todo = pending_scans(find_scans(paths), table, metadata=reading.metadata, series=reading.series)
        return list(process_scans(todo, table, preprocess=SMALL, reading=reading, row=mean))


def rows(out: Path) -> dict[str, tuple[str, str]]:
    """Hash and value by name."""
    with out.open(newline="") as file:
        return {line["VolumeName"]: (line["source_sha256"], line["mean"]) for line in csv.DictReader(file)}


def expected(path: Path, **options: object) -> tuple[str, str]:
    volume = thoracle.read(path, **options)
    return volume.provenance.sha256, f"{thoracle.preprocess(volume, SMALL).mean():.6f}"


def write(path: Path, *, heart: int, blank: bool = False) -> Path:
    """A chest whose heart has a value of its own; of one size and one time whatever the value, as archives unpack scans."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = nib.load(write_scan(path.with_name("source.nii")))
    hu = np.asarray(source.dataobj).copy()
    hu[60:80, 40:60, 30:50] = heart
    image = nib.Nifti1Image(hu, np.eye(4) if blank else source.affine)
    if blank:
        image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(image, path)
    path.with_name("source.nii").unlink()
    os.utime(path, ns=(0, 0))
    return path


def test_another_patients_scan_of_the_same_name_gets_a_row_of_its_own(tmp_path: Path, out: Path) -> None:
    first, second = write(tmp_path / "p1" / "CT.nii", heart=40), write(tmp_path / "p2" / "CT.nii", heart=400)
    assert first.stat().st_size == second.stat().st_size
    assert first.stat().st_mtime_ns == second.stat().st_mtime_ns
    detect(out, first)
    (outcome,) = detect(out, second)
    assert outcome.name == "p2/CT.nii"
    assert outcome.note == "called so because the table holds another scan's row under CT.nii"
    assert rows(out) == {"CT.nii": expected(first), "p2/CT.nii": expected(second)}
    assert detect(out, first) == detect(out, second) == []  # either is done


def test_scans_whose_folders_have_one_name_too_are_told_apart_by_the_folders_above(tmp_path: Path, out: Path) -> None:
    scans = [write(tmp_path / site / "1" / "CT.nii", heart=heart) for site, heart in (("a", 40), ("b", 400), ("c", 800))]
    for scan in scans:
        detect(out, scan)
    assert rows(out) == dict(zip(("CT.nii", "1/CT.nii", "c/1/CT.nii"), map(expected, scans), strict=True))
    assert [detect(out, scan) for scan in scans] == [[], [], []]


def test_a_replaced_file_is_said_and_done_again(tmp_path: Path, out: Path) -> None:
    scan = write(tmp_path / "p1" / "CT.nii", heart=40)
    other = write(tmp_path / "p1" / "other.nii", heart=60)
    detect(out, scan.parent)
    write(scan, heart=400)
    (outcome,) = detect(out, scan.parent)
    assert (outcome.name, outcome.note.split(";")[1]) == ("CT.nii", " the row is replaced")
    assert rows(out) == {"CT.nii": expected(scan), "other.nii": expected(other)}


def test_a_replaced_file_keeps_its_row_under_a_longer_name(tmp_path: Path, out: Path) -> None:
    first, second = write(tmp_path / "p1" / "CT.nii", heart=40), write(tmp_path / "p2" / "CT.nii", heart=400)
    detect(out, first)
    detect(out, second)
    write(second, heart=800)
    detect(out, second)
    assert rows(out) == {"CT.nii": expected(first), "p2/CT.nii": expected(second)}


def test_a_scan_that_went_where_another_was_is_told_by_its_bytes(tmp_path: Path, out: Path) -> None:
    """Staged anew by each job into a folder of its own: one row, and nothing is encoded again."""
    scan = write(tmp_path / "job1" / "CT.nii", heart=40)
    detect(out, scan)
    shutil.copytree(scan.parent, tmp_path / "job2")
    shutil.rmtree(scan.parent)
    (outcome,) = detect(out, tmp_path / "job2" / "CT.nii")
    assert (outcome.name, outcome.note) == ("CT.nii", "")
    assert list(rows(out)) == ["CT.nii"]
    assert detect(out, tmp_path / "job2" / "CT.nii") == []


def test_another_metadata_row_is_done_anew(tmp_path: Path, out: Path) -> None:
    scan = write(tmp_path / "CT.nii", heart=40, blank=True)
    row = {"XYSpacing": [3.0, 3.0], "ZSpacing": 4.0, "RescaleSlope": 1, "RescaleIntercept": 0}
    near, far = {**row}, {**row, "ZSpacing": 3.0}
    detect(out, scan, reading=ReadOptions(metadata=near))
    assert rows(out) == {"CT.nii": expected(scan, metadata=near)}
    (outcome,) = detect(out, scan, reading=ReadOptions(metadata=far))
    assert outcome.note == "its row was made with another series or metadata row; the row is replaced"
    assert rows(out) == {"CT.nii": expected(scan, metadata=far)}
    assert expected(scan, metadata=far)[1] != expected(scan, metadata=near)[1]
    assert detect(out, scan, reading=ReadOptions(metadata={**far, "Remark": "no matter"})) == []


def test_a_table_that_corrects_one_row_costs_one_scan(tmp_path: Path, out: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / "scans" / f"{name}.nii", heart=40, blank=True)
    table = tmp_path / "rows.csv"
    table.write_text('VolumeName,XYSpacing,ZSpacing\na.nii,"[3, 3]",4\nb.nii,"[3, 3]",4\n')
    assert len(detect(out, tmp_path / "scans", reading=ReadOptions(metadata=table))) == 2
    table.write_text('VolumeName,XYSpacing,ZSpacing\na.nii,"[3, 3]",4\nb.nii,"[3, 3]",3\nc.nii,"[3, 3]",3\n')
    assert [outcome.name for outcome in detect(out, tmp_path / "scans", reading=ReadOptions(metadata=table))] == ["b.nii"]


def test_another_series_of_one_folder_is_done_anew(tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    for series, value in (("1.2.3.1", 40), ("1.2.3.2", 400)):
        hu = np.asarray(nib.load(write(tmp_path / "x.nii", heart=value)).dataobj)
        for k in range(0, hu.shape[2], 4):
            write_slice(folder / f"{series}_{k}.dcm", hu[:, :, k], series=series, z=4.0 * k)
    for series in ("1.2.3.1", "1.2.3.2"):
        with ResultTable(out, columns=("mean",), settings={}) as table:
            scans = find_scans([folder], whole_folders=True)
            reading = ReadOptions(series=series)
            todo = pending_scans(scans, table, metadata=None, series=series)
            (outcome,) = process_scans(todo, table, preprocess=SMALL, reading=reading, row=mean)
            assert pending_scans(scans, table, metadata=None, series=series) == []
            assert outcome.failure is None
        assert rows(out) == {"study": expected(folder, series=series)}
    assert "1.2.3.2" in out.read_text()
    assert "1.2.3.1" not in out.read_text()


def test_a_stamp_is_of_every_file_and_of_no_name(tmp_path: Path) -> None:
    (tmp_path / "DOE" / "s").mkdir(parents=True)
    for name in ("1", "2"):
        (tmp_path / "DOE" / "s" / name).write_bytes(b"x")
    before = source_stamp(tmp_path / "DOE")
    os.rename(tmp_path / "DOE", tmp_path / "ROE")
    assert source_stamp(tmp_path / "ROE") == before
    (tmp_path / "ROE" / "s" / "2").write_bytes(b"y")
    assert source_stamp(tmp_path / "ROE") != before


@pytest.mark.parametrize("name", ["x.nhdr", "x.hdr", "x.mhd", "x.nrrd", "x.mha"])
def test_a_file_that_may_name_another_vouches_for_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert source_stamp(tmp_path / name) == ""
    assert source_stamp(tmp_path / "absent.nii") == ""


def write_slice(path: Path, hu: np.ndarray, *, series: str, z: float) -> None:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = CTImageStorage
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.SeriesInstanceUID, image.StudyInstanceUID, image.PatientID = series, "1.2.3", "p"
    image.Modality, image.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.ImagePositionPatient, image.ImageOrientationPatient = [-190, -165, z], [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.SliceThickness = [3, 3], 16
    image.Rows, image.Columns = hu.shape[1], hu.shape[0]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
    image.RescaleSlope, image.RescaleIntercept = 1, 0
    image.PixelData = np.ascontiguousarray(hu.T).astype("<i2").tobytes()
    pydicom.dcmwrite(path, image, enforce_file_format=True)


def write_series(folder: Path, heart: int, *, series: str) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    hu = np.asarray(nib.load(write(folder.parent / "x.nii", heart=heart)).dataobj)
    (folder.parent / "x.nii").unlink()
    for k in range(0, hu.shape[2], 4):
        write_slice(folder / f"{series}_{k}.dcm", hu[:, :, k], series=series, z=4.0 * k)


def test_series_of_one_flat_folder_give_the_rows_of_series_in_folders(tmp_path: Path, out: Path) -> None:
    """Each goes on by its own files: a series that changes, or comes to it, touches no other row."""
    hearts = {"1.2.3.1": 40, "1.2.3.2": 400, "1.2.3.3": 200}
    for uid, heart in hearts.items():
        write_series(tmp_path / "flat", heart, series=uid)
        (tmp_path / "tree" / uid).mkdir(parents=True)
        for path in (tmp_path / "flat").glob(f"{uid}_*"):
            shutil.copy(path, tmp_path / "tree" / uid)
    assert all(outcome.failure is None for outcome in detect(out, tmp_path / "flat"))
    detect(tmp_path / "other.csv", tmp_path / "tree")
    flat = rows(out)
    assert len(flat) == 3
    assert sorted(flat.values()) == sorted(rows(tmp_path / "other.csv").values())
    assert "1.2.3" not in out.read_text()
    assert "1.2.3" not in out.with_suffix(".sources.csv").read_text()
    assert detect(out, tmp_path / "flat") == []

    write_series(tmp_path / "flat", 800, series="1.2.3.2")
    write_series(tmp_path / "flat", 300, series="1.2.3.4")
    again = detect(out, tmp_path / "flat")
    after = rows(out)
    assert len(after) == 4
    assert {outcome.name for outcome in again} == {name for name, row in after.items() if flat.get(name) != row}
    assert len(again) == 2
    assert sum("the row is replaced" in outcome.note for outcome in again) == 1
    assert detect(out, tmp_path / "flat") == []


def test_flat_folders_of_one_name_keep_their_rows_apart(tmp_path: Path, out: Path) -> None:
    """An anonymiser gave two patients' series one UID."""
    for place, heart in (("a", 40), ("b", 400)):
        write_series(tmp_path / place / "inbox", heart, series="1.2.3.1")
        write_series(tmp_path / place / "inbox", heart + 100, series="1.2.3.2")
        detect(out, tmp_path / place / "inbox")
    digests = [sha256(uid.encode()).hexdigest()[:12] for uid in ("1.2.3.1", "1.2.3.2")]
    assert set(rows(out)) == {f"{folder}inbox/{digest}" for folder in ("", "b/") for digest in digests}
    assert detect(out, tmp_path / "a" / "inbox") == detect(out, tmp_path / "b" / "inbox") == []

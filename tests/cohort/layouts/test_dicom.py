from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pydicom
import pytest

from tests.ct.dicom.chest_series import make_slice, write_series
from thoracle.cohort.layouts.dicom import find
from thoracle.cohort.manifest import open_cohort
from thoracle.cohort.prepare import prepare
from thoracle.cohort.pseudonyms import SiteKey
from thoracle.cohort.reconstruction import ReconstructionFilter
from thoracle.errors import MetadataError, OutputConflict
from thoracle.files import folder_tree

_ROOT = "1.2.826.0.1.3680043.10.999"


@pytest.fixture
def tree(data_dir: Path, tmp_path: Path, write_table) -> Path:
    """Patient A with two studies, one of them with two series in one folder, and patient B; a localizer, and a report by accession."""
    root = tmp_path / "PACS"
    for place, patient, study, series, kernel, offset in (
        ("A/first", "SECRET-A", "1", "11", "Br40f", 0),
        ("A/first", "SECRET-A", "1", "12", "Br60f", 5),
        ("A/second", "SECRET-A", "2", "21", "Br40f", 10),
        ("B", "SECRET-B", "3", "31", "Br40f", 15),
    ):
        (root / place).mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(sorted((data_dir / "dicom" / "cip_ct64").iterdir())):
            dataset = pydicom.dcmread(path)
            dataset.PatientID, dataset.PatientName, dataset.AccessionNumber = patient, "SECRET^NAME", f"SECRET-{study}"
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{_ROOT}.{study}", f"{_ROOT}.{series}"
            dataset.ConvolutionKernel = kernel
            dataset.PixelData = (dataset.pixel_array + offset).astype("int16").tobytes()
            dataset.save_as(root / place / f"{series}-{number}.dcm")
    dataset.ImageType, dataset.SeriesInstanceUID = ["ORIGINAL", "PRIMARY", "LOCALIZER"], f"{_ROOT}.99"
    dataset.save_as(root / "B" / "localizer.dcm")
    write_table(
        root / "reports.csv", [{"AccessionNumber": "SECRET-1", "report": "Nodule."}, {"AccessionNumber": "SECRET-9", "report": "-"}]
    )
    return root


def test_each_series_is_a_volume_of_its_study_and_patient(tree: Path, small, tmp_path: Path) -> None:
    done = prepare(tree, layout="dicom", out=tmp_path / "out", preprocess=small, keep_ids=True)
    assert (done.volumes, done.refused) == (4, 0)
    assert done.notes == ("1 files set aside: localizer.", "1 rows of tables belong to no study in the tree.")
    entries = open_cohort(tmp_path / "out").entries
    assert [(entry.volume[len(_ROOT) :], entry.scan[len(_ROOT) :], entry.patient) for entry in entries] == [
        (".11", ".1", "SECRET-A"),
        (".12", ".1", "SECRET-A"),
        (".21", ".2", "SECRET-A"),
        (".31", ".3", "SECRET-B"),
    ]
    assert [entry.report.findings for entry in entries] == ["Nodule.", "Nodule.", "", ""]
    assert len({entry.cache_sha256 for entry in entries}) == 4, "each series its own voxels"


def test_what_is_no_slice_is_counted_by_what_it_is(tree: Path, data_dir: Path) -> None:
    first = next((data_dir / "dicom" / "cip_ct64").iterdir())
    capture = pydicom.dcmread(first)
    capture.SOPClassUID, capture.SeriesInstanceUID = "1.2.840.10008.5.1.4.1.1.7", f"{_ROOT}.98"
    del capture.ImagePositionPatient
    capture.save_as(tree / "B" / "capture.dcm")
    segmentation = pydicom.dcmread(first)
    segmentation.Modality, segmentation.SeriesInstanceUID = "SEG", f"{_ROOT}.97"
    segmentation.save_as(tree / "B" / "segmentation.dcm")
    (tree / "B" / "notes.dcm").write_text("no image")
    listing = find(tree)
    assert {source.volume[len(_ROOT) :] for source in listing.sources} == {".11", ".12", ".21", ".31"}
    assert listing.notes[:3] == tuple(
        f"1 files set aside: {reason}." for reason in ("SEG", "localizer", "secondary capture without position")
    )


def test_nothing_that_is_written_names_a_patient(tree: Path, small, tmp_path: Path) -> None:
    (tree / "B" / "31-7.dcm").unlink()
    key = tmp_path / "elsewhere" / "site.key"
    done = prepare(tree, layout="dicom", out=tmp_path / "out", preprocess=small, site_key=key)
    assert (done.volumes, done.refused) == (3, 1)
    assert ",refused,SliceGap," in (tmp_path / "out" / "quality.csv").read_text()
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert not any(word in path.read_bytes() for word in (b"SECRET", _ROOT.encode(), str(tree).encode())), path.name
    assert key.stat().st_mode & 0o077 == 0


def test_headers_tell_of_patient_and_scanner_and_dates_are_blurred_with_the_names(tree: Path, small, tmp_path: Path) -> None:
    source = find(tree).sources[0]
    assert (source.accession, len(source.facts.date)) == ("SECRET-1", 10)
    assert source.facts.scanner
    prepare(tree, layout="dicom", out=tmp_path / "out", preprocess=small, site_key=tmp_path / "key")
    entry = next(one for one in open_cohort(tmp_path / "out").entries if one.report.findings)
    assert (entry.facts.scanner, entry.facts.date) == (source.facts.scanner, source.facts.date[:4])
    assert entry.accession not in ("", "SECRET-1", entry.scan)


def test_a_kernel_is_chosen_from_the_headers(tree: Path) -> None:
    kept, _ = ReconstructionFilter.parse("kernel=Br6*,Br4*").choose(find(tree).sources)
    assert [source.volume[len(_ROOT) :] for source in kept] == [".12", ".21", ".31"]


def test_a_series_without_a_patient_is_refused_alone(tree: Path, small, tmp_path: Path) -> None:
    for path in (tree / "B").glob("31-*"):
        dataset = pydicom.dcmread(path)
        dataset.PatientID = ""
        dataset.save_as(path)
    shutil.rmtree(tree / "A" / "second")
    done = prepare(tree, layout="dicom", out=tmp_path / "out", preprocess=small, keep_ids=True)
    assert (done.volumes, done.refused) == (2, 1)
    assert "without patients no split can be trusted" in (tmp_path / "out" / "quality.csv").read_text()


@pytest.mark.parametrize("reconstruction", ["all", "kernel=Br4*"])
def test_a_damaged_file_refuses_its_own_series_wherever_it_lies_and_no_other(
    tree: Path, small, tmp_path: Path, reconstruction: str
) -> None:
    (tree / "A" / "second" / "half.dcm").write_bytes((tree / "B" / "31-1.dcm").read_bytes()[:3000])  # beside series 21, of series 31
    (tree / "C").mkdir()
    lost = pydicom.dcmread(tree / "B" / "31-1.dcm")
    lost.SeriesInstanceUID = f"{_ROOT}.41"
    for number in (1, 2):
        lost.save_as(tree / "C" / f"{number}.dcm")
        (tree / "C" / f"{number}.dcm").write_bytes((tree / "C" / f"{number}.dcm").read_bytes()[:3000])
    choice = ReconstructionFilter.parse(reconstruction)
    for keep, out in ((True, tmp_path / "kept"), (False, tmp_path / "covered")):
        key = tmp_path / "site.key"
        done = prepare(tree, layout="dicom", out=out, preprocess=small, keep_ids=keep, site_key=key, reconstruction=choice)
        assert done.refused == 2
        with (out / "quality.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["status"] == "refused"]
        assert [row["error"] for row in rows] == ["TruncatedFile"] * 2
        assert ({"C/1.dcm", f"{_ROOT}.31"} == {row["VolumeName"] for row in rows}) is keep
        assert any("2 files here are alike" in row["message"] for row in rows)
    assert not any(b"C/1.dcm" in path.read_bytes() for path in out.rglob("*") if path.is_file())


def test_one_receive_folder_of_many_patients(data_dir: Path, small, tmp_path: Path) -> None:
    """As storescp writes it: no folder per study; one cut file, and one that begins like DICOM and is none."""
    slices = [pydicom.dcmread(path) for path in sorted((data_dir / "dicom" / "cip_ct64").iterdir())]
    (tmp_path / "in").mkdir()
    for patient in range(4):
        for number, dataset in enumerate(slices):
            dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (
                f"p{patient}",
                f"{_ROOT}.{patient}",
                f"{_ROOT}.{patient}.1",
            )
            dataset.SOPInstanceUID = f"{_ROOT}.{patient}.1.{number}"
            dataset.PixelData = (dataset.pixel_array + patient).astype("int16").tobytes()
            dataset.save_as(tmp_path / "in" / f"CT.{patient}.{number}")
    cut = tmp_path / "in" / "CT.2.5"
    cut.write_bytes(cut.read_bytes()[:-9])
    (tmp_path / "in" / "stray").write_bytes(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + b"\xff" * 500)
    (tmp_path / "in" / "half").write_bytes((tmp_path / "in" / "CT.1.1").read_bytes()[:300])
    done = prepare(tmp_path / "in", layout="dicom", out=tmp_path / "out", preprocess=small, keep_ids=True)
    assert (done.volumes, done.refused) == (3, 1)
    quality = (tmp_path / "out" / "quality.csv").read_text()
    assert f"{_ROOT}.2.1,refused,TruncatedFile" in quality
    assert "1 files set aside: damaged, of no series that can be told" in done.notes[0]


def test_links_are_followed_and_what_cannot_be_listed_is_a_row(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {source.volume: len(source.files) for source in find(tree).sources}
    (tree / "B").rename(tmp_path / "store")
    (tree / "B").mkdir()
    for path in (tmp_path / "store").iterdir():
        (tree / "B" / path.name).symlink_to(path)
    (tree / "A" / "second").rename(tmp_path / "elsewhere")
    (tree / "A" / "second").symlink_to(tmp_path / "elsewhere")
    (tree / "A" / "loop").symlink_to(tree)
    assert {source.volume: len(source.files) for source in find(tree).sources} == expected
    (tree / "B" / "31-7.dcm").unlink()
    (tree / "B" / "31-7.dcm").symlink_to(tmp_path / "gone")
    scandir = os.scandir

    def refusing(path: str | Path) -> object:
        if Path(path).name == "first":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(folder_tree.os, "scandir", refusing)
    listing = find(tree)
    assert {(source.volume, str(source.error)) for source in listing.sources if source.error} == {
        ("A/first", "cannot be listed (Permission denied). Mend the link or the permissions."),
        ("B/31-7.dcm", "a link that ends nowhere. Mend the link or the permissions."),
    }
    assert {source.volume[len(_ROOT) :] for source in listing.sources if not source.error} == {".21", ".31"}


def _series(tree: Path, place: str, count: int, **fields: object) -> None:
    """Copies of the first slices of series 31, changed."""
    (tree / place).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        dataset = pydicom.dcmread(tree / "B" / f"31-{number}.dcm")
        for keyword, content in fields.items():
            setattr(dataset, keyword, content)
        dataset.SOPInstanceUID = f"{dataset.SeriesInstanceUID}.{number}"
        dataset.save_as(tree / place / f"{dataset.SeriesInstanceUID}-{number}.dcm")


def test_scouts_without_the_word_and_bolus_monitors_are_no_volumes(tree: Path) -> None:
    coronal = [1, 0, 0, 0, 0, -1]
    _series(tree, "B", 2, SeriesInstanceUID=f"{_ROOT}.96", ImageOrientationPatient=coronal)
    _series(tree, "B", 15, SeriesInstanceUID=f"{_ROOT}.95", ImagePositionPatient=[0, 0, 0])
    _series(tree, "B", 1, SeriesInstanceUID=f"{_ROOT}.94")
    _series(tree, "D", 5, SeriesInstanceUID=f"{_ROOT}.93", StudyInstanceUID=f"{_ROOT}.5")
    listing = find(tree)
    assert {source.volume[len(_ROOT) :] for source in listing.sources} == {".11", ".12", ".21", ".31", ".93"}
    assert listing.notes[:3] == (
        "16 files set aside: bolus monitor or single slice beside a scan.",
        "1 files set aside: localizer.",
        "2 files set aside: scout.",
    )


def test_derived_images_are_left_out_and_counted_unless_asked_for(tree: Path, small, tmp_path: Path) -> None:
    mip = ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MIP"]
    _series(tree, "B", 40, SeriesInstanceUID=f"{_ROOT}.92", ImageType=mip)
    _series(tree, "B", 40, SeriesInstanceUID=f"{_ROOT}.91", RescaleType="Z_EFF", SliceThickness=2)
    done = prepare(tree, layout="dicom", out=tmp_path / "out", preprocess=small, keep_ids=True)
    assert (done.volumes, done.refused) == (4, 0)
    note = "2 volumes of derived images were left out (1 x RescaleType Z_EFF, 1 x maximum intensity projection); --derived takes them."
    assert note in done.notes
    everything = prepare(tree, layout="dicom", out=tmp_path / "all", preprocess=small, keep_ids=True, derived=True)
    assert (everything.volumes + everything.refused, note in everything.notes) == (6, False)
    with pytest.raises(OutputConflict):
        prepare(tree, layout="dicom", out=tmp_path / "out", preprocess=small, keep_ids=True, derived=True)


def test_tables_of_no_study_are_refused_and_unlike_rows_named(tree: Path, write_table) -> None:
    table = tree / "reports.csv"
    rows = [{"AccessionNumber": " SECRET-1", "report": "Nodule."}, {"AccessionNumber": "SECRET-1", "report": "Nodule."}]
    write_table(table, rows)
    assert "Nodule." in {source.report.findings for source in find(tree).sources}
    write_table(table, [*rows, {"AccessionNumber": "SECRET-1", "report": "None."}])
    with pytest.raises(MetadataError, match="line 4: its row of reports and labels for a study is unlike that in line 2"):
        find(tree)
    write_table(table, [{"AccessionNumber": "X-1", "report": "Nodule."}])
    with pytest.raises(MetadataError, match=r"none of 1 rows of reports and labels .* AccessionNumber or StudyInstanceUID") as caught:
        find(tree)
    assert "X-1" not in str(caught.value)
    write_table(table, [{"AccessionNumber": "X-1", "room": "3"}])  # no report: a table of something else
    assert find(tree).sources


def _edit(files: Iterable[Path], **values: object) -> None:
    for path in files:
        dataset = pydicom.dcmread(path)
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)


@pytest.mark.parametrize(
    ("first", "second", "visits"),
    [
        (("20200301", "101500"), ("20180105", "101500"), (2, 1)),
        (("20200301", "101500.5"), ("20200301", "093000"), (2, 1)),
        (("20200301", ""), ("20200301", "093000"), (1, 1)),
        (("", ""), ("20200301", "093000"), (None, 1)),
    ],
)
def test_studies_are_numbered_by_date_and_time_under_pseudonyms(
    tree: Path, small, tmp_path: Path, first: tuple[str, str], second: tuple[str, str], visits: tuple[int | None, int | None]
) -> None:
    for folder, (date, time) in (("first", first), ("second", second)):
        _edit((tree / "A" / folder).iterdir(), StudyDate=date, StudyTime=time)
    prepare(tree, layout="dicom", out=tmp_path / "out", preprocess=small, site_key=tmp_path / "k", judge=False)
    key = SiteKey.load(tmp_path / "k", outside=tmp_path / "out")
    entries = {entry.volume.rpartition("_")[2]: entry.visit for entry in open_cohort(tmp_path / "out").entries}
    numbers = [entries[key.endings(f"{_ROOT}.{series}")[1].lstrip("_")] for series in ("11", "12", "21")]
    assert tuple(numbers) == (visits[0], *visits)
    assert b"20200301" not in b"".join(path.read_bytes() for path in (tmp_path / "out").glob("*.*"))


def test_of_two_phases_under_one_uid_the_chosen_one_is_read_and_no_other_volume_again(tree: Path, small, tmp_path: Path) -> None:
    for phase, series in ((1, "11"), (2, "12")):
        _edit((tree / "A" / "first").glob(f"{series}-*"), SeriesInstanceUID=f"{_ROOT}.11", AcquisitionNumber=phase)
    for number, path in enumerate(sorted((tree / "A" / "first").iterdir())):
        _edit([path], SOPInstanceUID=f"{_ROOT}.700.{number}")
    options = {"layout": "dicom", "out": tmp_path / "out", "preprocess": small, "keep_ids": True, "judge": False}
    assert prepare(tree, **options).refused == 1  # type: ignore[arg-type]
    chosen = []
    for phase in (1, 2):
        again: list[str] = []
        done = prepare(tree, **options, series=[f"{_ROOT}.11#{phase}"], progress=lambda now, again=again: again.append(now.outcome.volume))  # type: ignore[arg-type]
        assert (done.volumes, done.refused, again) == (3, 0, [f"{_ROOT}.11"])
        chosen.append(open_cohort(tmp_path / "out").entries[0].cache_sha256)
    assert len(set(chosen)) == 2


@pytest.mark.parametrize(
    ("patients", "warning"),
    [
        (("ANON", "ANON", "ANON "), "Warning: all 3 studies stand under one PatientID,"),
        (("", "", ""), "Warning: all 3 studies stand without a PatientID of their own,"),
        (("ANON", "ANON", "p3"), ""),
        (("ANON",), ""),  # one study is one patient's
    ],
)
def test_an_archive_of_one_patient_id_is_warned_of(tmp_path: Path, patients: tuple[str, ...], warning: str) -> None:
    for number, patient in enumerate(patients, start=1):
        tags = {"PatientID": patient, "StudyInstanceUID": f"1.9.{number}", "SeriesInstanceUID": f"1.9.{number}.1"}
        write_series(tmp_path / str(number), partial(make_slice, **tags))
    notes = [note for note in find(tmp_path).notes if note.startswith("Warning")]
    assert len(notes) == bool(warning)
    assert all(note.startswith(warning) and "splits by patient mean nothing" in note for note in notes)


def test_series_of_several_phases_are_refused_by_name_and_cured_together(tree: Path, small, tmp_path: Path) -> None:
    """The others are prepared meanwhile. What is written names what differs, and no UID."""
    for series, path in (("11", tree / "A" / "first"), ("31", tree / "B")):
        slices = sorted(path.glob(f"{series}-*"))
        for number, slice_path in enumerate(slices):
            ds = pydicom.dcmread(slice_path)
            ds.AcquisitionNumber, ds.SOPInstanceUID, ds.PixelData = 2, f"{_ROOT}.8{series}.{number}", (ds.pixel_array + 20).tobytes()
            ds.save_as(path / f"{series}-later-{number}.dcm")
        _edit(slices, AcquisitionNumber=1)
    options = {"layout": "dicom", "out": tmp_path / "out", "preprocess": small, "judge": False, "site_key": tmp_path / "key"}
    done = prepare(tree, **options)  # type: ignore[arg-type]
    assert (done.volumes, done.refused) == (2, 2)
    quality = (tmp_path / "out" / "quality.csv").read_text()
    assert quality.count("2 volumes under one SeriesInstanceUID could be meant; what differs is AcquisitionNumber.") == 2
    assert quality.count("--series UID#1 to UID#2") == 2
    assert _ROOT not in quality
    again: list[str] = []
    choices = [f"{_ROOT}.11#1", f"{_ROOT}.31#2"]
    done = prepare(tree, **options, series=choices, progress=lambda now: again.append(now.outcome.volume))  # type: ignore[arg-type]
    assert (done.volumes, done.refused, len(again)) == (4, 0, 2)
    assert prepare(tree, **options, series=choices, progress=lambda now: pytest.fail("read again")).volumes == 4  # type: ignore[arg-type]

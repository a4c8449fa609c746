from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pydicom
import pytest

from thoracle.cohort.layouts.dicom import find
from thoracle.cohort.manifest import open_cohort
from thoracle.cohort.prepare import prepare
from thoracle.cohort.reconstruction import ReconstructionFilter
from thoracle.errors import MetadataError

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
def test_damaged_files_are_a_row_where_they_lie_alone_and_refuse_the_series_they_lie_in(
    tree: Path, small, tmp_path: Path, reconstruction: str
) -> None:
    (tree / "C").mkdir()
    for number in (1, 2):
        (tree / "C" / f"{number}.dcm").write_bytes((tree / "B" / f"31-{number}.dcm").read_bytes()[:3000])
    shutil.copy(tree / "C" / "1.dcm", tree / "A" / "second" / "half.dcm")
    choice = ReconstructionFilter.parse(reconstruction)
    for keep, out in ((True, tmp_path / "kept"), (False, tmp_path / "covered")):
        key = tmp_path / "site.key"
        done = prepare(tree, layout="dicom", out=out, preprocess=small, keep_ids=keep, site_key=key, reconstruction=choice)
        assert done.refused == 2
        with (out / "quality.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["status"] == "refused"]
        assert [row["error"] for row in rows] == ["TruncatedFile"] * 2
        assert ("C/1.dcm" in {row["VolumeName"] for row in rows}) is keep
    assert not any(b"C/1.dcm" in path.read_bytes() for path in out.rglob("*") if path.is_file())


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

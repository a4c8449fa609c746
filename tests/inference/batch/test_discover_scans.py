from __future__ import annotations

import os
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tests.ct.dicom.conftest import make_slice
from thoracle.errors import InputError, MetadataError, ScanUnreadable, SeriesAmbiguous
from thoracle.files import folder_tree
from thoracle.inference.batch.discover_scans import ScanLocation, Shard, find_scans


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def slice_of(series: str, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID, image.SeriesInstanceUID = CTImageStorage, generate_uid(), series
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID, image.file_meta.MediaStorageSOPInstanceUID = CTImageStorage, image.SOPInstanceUID
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pydicom.dcmwrite(path, image, enforce_file_format=True)
    return path


def series_of(folder: Path, uid: str, count: int, *, study: str = "1.9", **fields: object) -> None:
    """A series of 12 x 10 voxels, with pixels; `fields` are of every image."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        image = make_slice(k, series=uid)
        image.StudyInstanceUID = study
        for keyword, content in fields.items():
            setattr(image, keyword, content)
        image.save_as(folder / f"{uid}-{k}")


def names(scans: tuple[ScanLocation, ...]) -> list[str]:
    return [scan.name for scan in scans]


def test_a_file_is_called_by_its_name_as_ct_rate_does(tmp_path: Path) -> None:
    assert names(find_scans([touch(tmp_path / "train_1_a_1.nii.gz")])) == ["train_1_a_1.nii.gz"]


def test_a_tree_gives_every_image_file_and_every_dicom_folder(tmp_path: Path) -> None:
    for name in (
        "a/one.nii.gz",
        "a/two.NRRD",
        "b/three.mha",
        "four.zip",
        "five.hdr",
        "five.img",
        "notes.txt",
        "table.csv",
        ".hidden/six.nii",
    ):
        touch(tmp_path / name)
    slice_of("1.2.3", tmp_path / "p1" / "s1" / "im1")
    slice_of("1.2.4", tmp_path / "p1" / "s2" / "im1.dcm")
    assert names(find_scans([tmp_path])) == ["five.hdr", "four.zip", "one.nii.gz", "p1/s1", "p1/s2", "three.mha", "two.NRRD"]


def test_unlike_paths_tell_files_of_one_name_apart(tmp_path: Path) -> None:
    touch(tmp_path / "sub-1" / "ct.nii.gz")
    touch(tmp_path / "sub-2" / "ct.nii.gz")
    touch(tmp_path / "sub-2" / "other.nii.gz")
    assert names(find_scans([tmp_path])) == ["other.nii.gz", "sub-1/ct.nii.gz", "sub-2/ct.nii.gz"]


def test_half_a_series_is_never_a_scan(tmp_path: Path) -> None:
    """Media often cut a series into folders of a hundred files: their common folder is the scan."""
    slice_of("1.2.3", tmp_path / "disc" / "0" / "im1")
    slice_of("1.2.3", tmp_path / "disc" / "1" / "im2")
    assert [(scan.name, scan.path) for scan in find_scans([tmp_path])] == [("disc", tmp_path / "disc")]


def test_parts_of_a_series_beside_another_fail_and_leave_the_other_alone(tmp_path: Path) -> None:
    """Or copies: anonymised scans with one UID for all look the same. Named one by one they are read."""
    slice_of("1.2.3", tmp_path / "disc" / "0" / "im1")
    slice_of("1.2.3", tmp_path / "disc" / "1" / "im2")
    slice_of("1.2.4", tmp_path / "disc" / "2" / "im3")
    found = find_scans([tmp_path])
    assert names(found) == ["disc/0", "disc/1", "disc/2"]
    assert [isinstance(scan.fault, SeriesAmbiguous) for scan in found] == [True, True, False]
    assert not any(scan.fault for scan in find_scans([tmp_path / "disc" / "0", tmp_path / "disc" / "1"]))


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for place in ("a/ct", "b/ct", "c/x/ct"):
        slice_of(generate_uid(), tmp_path / place / "im1")
    assert names(find_scans([tmp_path / "a" / "ct", tmp_path / "b" / "ct", tmp_path / "c"])) == ["a/ct", "b/ct", "x/ct"]


def test_a_folder_inside_a_series_is_read_with_it(tmp_path: Path) -> None:
    slice_of("1.2.3", tmp_path / "s" / "im1")
    slice_of("1.2.4", tmp_path / "s" / "below" / "im1")
    assert names(find_scans([tmp_path])) == ["s"]


def test_a_dicomdir_makes_no_scan_of_its_folder(tmp_path: Path) -> None:
    slice_of("1.2.3", tmp_path / "DICOMDIR")
    slice_of("1.2.3", tmp_path / "s" / "im1")
    assert names(find_scans([tmp_path])) == ["s"]


@pytest.mark.parametrize("content", [b"", b"notes of the study\n" * 20, b"\x08\x00\xff\xff" + bytes(200), b"\x02\x00\x99\x99" + bytes(200)])
def test_a_folder_without_dicom_is_no_scan_whatever_its_files_are_called(tmp_path: Path, content: bytes) -> None:
    slice_of("1.2.3", tmp_path / "s" / "im1")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.dcm").write_bytes(content)
    (tmp_path / "s" / "a.dcm").write_bytes(content)
    assert names(find_scans([tmp_path])) == ["s"]


def test_damaged_dicom_is_listed_so_that_it_is_said_to_fail(tmp_path: Path) -> None:
    slice_of("1.2.3", tmp_path / "s" / "im1")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "im1").write_bytes((tmp_path / "s" / "im1").read_bytes()[:132] + b"\xff" * 300)
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "im1.dcm").symlink_to(tmp_path / "gone")
    assert names(find_scans([tmp_path])) == ["damaged", "lost", "s"]


def test_an_ordinary_tree_of_patients_studies_and_series(tmp_path: Path) -> None:
    """Reports, scouts with and without the word, other modalities and a bolus monitor are set aside and counted; scans are listed."""
    coronal = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
    for patient in "12":
        study = {"study": f"1.9.{patient}"}
        root = tmp_path / f"PA{patient}" / "ST1"
        series_of(root / "SE0", f"1.{patient}.0", 2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], **study)
        series_of(root / "SE1", f"1.{patient}.1", 2, **coronal, **study)
        series_of(root / "SE2", f"1.{patient}.2", 25, **study)
        series_of(root / "SE3", f"1.{patient}.3", 1, Modality="SR", **study)
        series_of(root / "SE4", f"1.{patient}.4", 6, Modality="PT", **study)
        series_of(root / "SE5", f"1.{patient}.5", 15, ImagePositionPatient=[0, 0, 0], **study)
    series_of(tmp_path / "PA3" / "ST1", "1.3.1", 1, Modality="KO", study="1.9.3")  # beside folders of series, not in one
    series_of(tmp_path / "PA3" / "ST1" / "SE1", "1.3.2", 5, study="1.9.3")
    sentences: list[str] = []
    found = find_scans([tmp_path], notify=sentences.append)
    assert names(found) == ["PA1/ST1/SE2", "PA2/ST1/SE2", "PA3/ST1/SE1"]
    assert sentences == [
        "11 DICOM folders set aside: 1 x KO, 2 x PT, 2 x SR, 2 x bolus monitor or single slice beside a scan, 2 x localizer, 2 x scout."
    ]


def test_a_scout_alone_is_a_scan_that_fails(tmp_path: Path) -> None:
    series_of(tmp_path / "SE1", "1.2.3", 2, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    assert names(find_scans([tmp_path])) == ["SE1"]


def test_the_last_slice_of_a_series_in_a_folder_of_its_own_is_no_scout(tmp_path: Path) -> None:
    series_of(tmp_path / "disc" / "0", "1.2.3", 30)
    (tmp_path / "disc" / "1").mkdir()
    (tmp_path / "disc" / "0" / "1.2.3-29").rename(tmp_path / "disc" / "1" / "im")
    assert names(find_scans([tmp_path])) == ["disc"]


def test_what_is_damaged_is_listed_and_not_set_aside(tmp_path: Path) -> None:
    series_of(tmp_path / "a", "1.2.3", 25)
    series_of(tmp_path / "b", "1.2.4", 1)
    (tmp_path / "b" / "1.2.4-0").write_bytes((tmp_path / "b" / "1.2.4-0").read_bytes()[:-5])
    assert names(find_scans([tmp_path])) == ["a", "b"]


def test_links_are_followed_and_what_cannot_be_listed_fails_or_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    series_of(tmp_path / "store", "1.2.3", 25)
    (tree / "linked").mkdir(parents=True)
    for path in (tmp_path / "store").iterdir():
        (tree / "linked" / path.name).symlink_to(path)
    series_of(tmp_path / "elsewhere", "1.2.4", 25)
    (tree / "whole").symlink_to(tmp_path / "elsewhere")
    (tree / "loop").symlink_to(tree)
    (tree / "scan.nii.gz").symlink_to(tmp_path / "gone")
    (tree / "README").symlink_to(tmp_path / "gone")
    (tree / "locked").mkdir()
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(folder_tree.os, "scandir", refusing)
    sentences: list[str] = []
    found = find_scans([tree], notify=sentences.append)
    assert names(found) == ["linked", "locked", "scan.nii.gz", "whole"]
    assert [scan.name for scan in found if isinstance(scan.fault, ScanUnreadable)] == ["locked"]
    assert sentences == [f"a link that ends nowhere: {tree / 'README'}."]


def test_a_file_that_may_not_be_opened_is_told_and_is_a_scan_where_it_is_called_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series_of(tmp_path / "a", "1.2.3", 25)
    touch(tmp_path / "b" / "locked")
    touch(tmp_path / "c" / "locked.dcm")
    opened = Path.open

    def refusing(path: Path, *arguments: str) -> object:
        if path.name.startswith("locked"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments)

    monkeypatch.setattr(Path, "open", refusing)
    sentences: list[str] = []
    assert names(find_scans([tmp_path], notify=sentences.append)) == ["a", "c"]
    assert sentences == [f"Permission denied: {tmp_path / 'b' / 'locked'}."]


def test_slices_without_preamble_are_a_scan(tmp_path: Path) -> None:
    content = slice_of("1.2.3", tmp_path / "whole" / "im1").read_bytes()
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "im1").write_bytes(content[132:].replace(b"1.2.3\0", b"1.2.4\0"))
    assert names(find_scans([tmp_path])) == ["bare", "whole"]


def test_one_study_is_one_scan_when_whole_folders_are_asked_for(tmp_path: Path) -> None:
    slice_of("1.2.3", tmp_path / "study" / "s1" / "im1")
    slice_of("1.2.4", tmp_path / "study" / "s2" / "im1")
    found = find_scans([tmp_path / "study"], whole_folders=True)
    assert [(scan.name, scan.path) for scan in found] == [("study", tmp_path / "study")]


def test_a_folder_of_nothing_known_is_left_to_read(tmp_path: Path) -> None:
    touch(tmp_path / "odd" / "notes.txt")
    assert names(find_scans([tmp_path / "odd"])) == ["odd"]


def test_a_table_lists_scans_beside_it_and_where_ct_rate_keeps_them(tmp_path: Path) -> None:
    beside = touch(tmp_path / "valid_1_a_1.nii.gz")
    kept = touch(tmp_path / "train" / "train_2" / "train_2_b" / "train_2_b_1.nii.gz")
    table = tmp_path / "list.csv"
    table.write_text("VolumeName,XYSpacing\nvalid_1_a_1.nii.gz,1\ntrain_2_b_1.nii.gz,1\nvalid_9_a_1.nii.gz,1\n")
    found = {scan.name: scan for scan in find_scans([table])}
    assert found["valid_1_a_1.nii.gz"].path == beside
    assert found["train_2_b_1.nii.gz"].path == kept
    assert not found["valid_9_a_1.nii.gz"].path.exists()  # fails when it is read, as one scan
    assert all(scan.table is not None and len(scan.table) == 3 for scan in found.values())


def test_a_table_of_paths_is_no_metadata(tmp_path: Path) -> None:
    touch(tmp_path / "x" / "one.nii")
    (tmp_path / "list.csv").write_text("path,note\nx/one.nii,hello\n")
    (scan,) = find_scans([tmp_path / "list.csv"])
    assert (scan.name, scan.path, scan.table) == ("one.nii", tmp_path / "x" / "one.nii", None)


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"", b"VolumeName\n\xff\xfe\n"])
def test_a_table_that_lists_nothing_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(MetadataError):
        find_scans([tmp_path / "list.csv"])


def test_names_stay_below_the_folder_they_are_joined_to(tmp_path: Path) -> None:
    touch(tmp_path / "deep" / "ct.nii")
    touch(tmp_path / "ct.nii")
    (tmp_path / "deep" / "list.csv").write_text(
        "VolumeName,path\n../../evil\nx,../ct.nii\n/abs/name,ct.nii\n".replace("evil\n", "evil,ct.nii\n")
    )
    assert not any(name.startswith("/") or ".." in name for name in names(find_scans([tmp_path / "deep" / "list.csv"])))


def test_a_name_is_one_line(tmp_path: Path) -> None:
    touch(tmp_path / "two\nlines.nii")
    assert names(find_scans([tmp_path])) == ["two_lines.nii"]


def test_the_same_scan_given_twice_is_read_once(tmp_path: Path) -> None:
    one = touch(tmp_path / "one.nii")
    assert names(find_scans([one, tmp_path, one])) == ["one.nii"]


def test_what_does_not_exist_is_said_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        find_scans([tmp_path / "missing.nii"])


@pytest.mark.parametrize("count", [1, 2, 3, 16])
def test_shards_are_disjoint_complete_and_even(tmp_path: Path, count: int) -> None:
    scans = [ScanLocation(name=f"{i:02d}", path=tmp_path) for i in range(20)]
    parts = [Shard(index=index, count=count).of(scans) for index in range(1, count + 1)]
    assert sorted(scan.name for part in parts for scan in part) == [scan.name for scan in scans]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_each_shard_has_its_own_file() -> None:
    assert Shard.parse("3/16").file(Path("out/predictions.csv")) == Path("out/predictions.3-of-16.csv")


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_a_shard_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="3/16"):
        Shard.parse(text)


def test_a_table_in_another_spelling_lists_the_same_scans(tmp_path: Path) -> None:
    scan = touch(tmp_path / "Müller" / "ct.nii.gz")
    table = tmp_path / "list.tsv"
    table.write_text("Path\tnote\nMu\u0308ller\\ct.nii.gz \tx\n\n")
    (found,) = find_scans([table])
    assert found.path.samefile(scan)
    table.write_bytes("path\tnote\nMüller/ct.nii.gz\tx\n".encode("cp1252"))
    with pytest.raises(MetadataError, match="line 2 is not utf-8"):
        find_scans([table])
    assert find_scans([table], encoding="cp1252")[0].path.samefile(scan)

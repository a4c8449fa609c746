from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from tests.inference.batch.trees import names, series_of, slice_of, touch
from thoracle.errors import ScanUnreadable, SeriesAmbiguous, TruncatedFile
from thoracle.files import folder_tree
from thoracle.inference.batch.discover_scans import find_scans
from thoracle.inference.batch.runner import ReadOptions, read_scan


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


def test_a_series_in_a_folder_inside_another_is_a_scan_of_its_own(tmp_path: Path) -> None:
    slice_of("1.2.3", tmp_path / "s" / "im1")
    slice_of("1.2.4", tmp_path / "s" / "below" / "im1")
    assert [(scan.name, scan.files) for scan in find_scans([tmp_path])] == [
        ("s", (tmp_path / "s" / "im1",)),
        ("s/below", ()),
    ]


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
        "11 DICOM series set aside: 1 x KO, 2 x PT, 2 x SR, 2 x bolus monitor or single slice beside a scan, 2 x localizer, 2 x scout."
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


def digest(uid: str) -> str:
    return sha256(uid.encode()).hexdigest()[:12]


def test_each_series_of_a_flat_folder_is_a_scan_without_its_uid(tmp_path: Path) -> None:
    """As storescp and Orthanc write them: all patients in one folder. A series more changes no name."""
    flat = tmp_path / "inbox"
    for patient in range(20):
        series_of(flat, f"1.2.{patient}", 5, study=f"1.9.{patient}", PatientID=f"DOE{patient}")
    found = find_scans([flat])
    assert {scan.name: scan.files for scan in found} == {
        f"inbox/{digest(f'1.2.{patient}')}": tuple(flat / f"1.2.{patient}-{k}" for k in range(5)) for patient in range(20)
    }
    assert {scan.path for scan in found} == {flat}
    series_of(flat, "1.2.99", 5)
    assert set(names(found)) < set(names(find_scans([flat])))
    assert set(names(find_scans([tmp_path]))) == set(names(find_scans([flat]))), "the folder above names them alike"


def test_one_scan_is_still_what_is_asked_for_with_a_series(tmp_path: Path) -> None:
    series_of(tmp_path / "inbox", "1.2.3", 5)
    series_of(tmp_path / "inbox", "1.2.4", 5)
    assert [(scan.name, scan.files) for scan in find_scans([tmp_path / "inbox"], whole_folders=True)] == [("inbox", ())]


@pytest.mark.parametrize("flat", [True, False], ids=["flat", "folders"])
def test_what_goes_along_with_scans_is_set_aside_in_one_folder_as_in_many(tmp_path: Path, flat: bool) -> None:
    def place(number: int) -> Path:
        return tmp_path / "inbox" if flat else tmp_path / "inbox" / f"SE{number}"

    coronal = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
    series_of(place(0), "1.0", 25)
    series_of(place(1), "1.1", 25, study="1.8")
    series_of(place(2), "1.2", 2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    series_of(place(3), "1.3", 2, **coronal)
    series_of(place(4), "1.4", 1, Modality="SR")
    series_of(place(5), "1.5", 8, ImageType=["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MIP"])
    series_of(place(6), "1.6", 25, ImageType=["DERIVED", "SECONDARY", "MPR"], **coronal)
    series_of(place(7), "1.7", 15, ImagePositionPatient=[0, 0, 0])
    series_of(place(8), "1.8", 8, study="1.7", ImageType=["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MIP"])  # its source is not here
    sentences: list[str] = []
    found = find_scans([tmp_path], notify=sentences.append)
    uids = {scan.files[0].name.split("-")[0] for scan in found} if flat else {f"1.{scan.path.name[2:]}" for scan in found}
    assert uids == {"1.0", "1.1", "1.8"}
    assert sentences == [
        "6 DICOM series set aside: 1 x SR, 1 x bolus monitor or single slice beside a scan, 1 x localizer, "
        "1 x maximum intensity projection, 1 x reformatted image, 1 x scout."
    ]


def test_damage_in_a_flat_folder_is_of_its_series_or_of_all_where_none_can_be_told(tmp_path: Path) -> None:
    flat = tmp_path / "inbox"
    series_of(flat, "1.2.3", 5)
    series_of(flat, "1.2.4", 5)
    (flat / "1.2.4-2").write_bytes((flat / "1.2.4-2").read_bytes()[:-5])
    lost = flat / "lost"
    lost.write_bytes((flat / "1.2.3-0").read_bytes()[:132] + b"\xff" * 300)
    (flat / "gone.dcm").symlink_to(tmp_path / "nowhere")
    sentences: list[str] = []
    found = {scan.name: scan for scan in find_scans([flat], notify=sentences.append)}
    assert found[f"inbox/{digest('1.2.4')}"].files == (*(flat / f"1.2.4-{k}" for k in range(5)), lost)
    assert sentences == [f"a link that ends nowhere: {flat / 'gone.dcm'}."]
    volume = read_scan(found[f"inbox/{digest('1.2.3')}"], ReadOptions(min_slices=2, hu="stored"))
    assert any("Files beside the series could not be read" in warning for warning in volume.tags.warnings)
    with pytest.raises(TruncatedFile):
        read_scan(found[f"inbox/{digest('1.2.4')}"], ReadOptions(min_slices=2, hu="stored"))


def test_series_cut_alike_into_folders_are_scans_and_series_cut_unlike_fail(tmp_path: Path) -> None:
    for uid in ("1.2.3", "1.2.4"):
        series_of(tmp_path / "disc" / "0", uid, 6)
        (tmp_path / "disc" / "1").mkdir(exist_ok=True)
        (tmp_path / "disc" / "0" / f"{uid}-5").rename(tmp_path / "disc" / "1" / f"{uid}-5")
    found = find_scans([tmp_path])
    assert names(found) == sorted(f"disc/{digest(uid)}" for uid in ("1.2.3", "1.2.4"))
    assert {len(scan.files) for scan in found} == {6}
    series_of(tmp_path / "disc" / "2", "1.2.5", 6)
    found = find_scans([tmp_path])
    assert names(found) == sorted(["disc/2", *(f"disc/{part}/{digest(uid)}" for part in "01" for uid in ("1.2.3", "1.2.4"))])
    assert [scan.name for scan in found if scan.fault is None] == ["disc/2"]


def test_a_damaged_file_above_a_series_is_no_second_scan_of_it(tmp_path: Path) -> None:
    series_of(tmp_path / "top" / "s", "1.2.3", 25)
    (tmp_path / "top" / "lost").write_bytes((tmp_path / "top" / "s" / "1.2.3-0").read_bytes()[:132] + b"\xff" * 300)
    assert [(scan.name, scan.files) for scan in find_scans([tmp_path])] == [("top", (tmp_path / "top" / "lost",)), ("top/s", ())]

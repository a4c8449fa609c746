from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from tests.inference.batch.trees import names, slice_of, touch
from thoracle.errors import InputError, MetadataError
from thoracle.inference.batch.discover_scans import ScanLocation, Shard, find_scans


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


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for place in ("a/ct", "b/ct", "c/x/ct"):
        slice_of(generate_uid(), tmp_path / place / "im1")
    assert names(find_scans([tmp_path / "a" / "ct", tmp_path / "b" / "ct", tmp_path / "c"])) == ["a/ct", "b/ct", "x/ct"]


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

"""Lists of volumes: what they match, and what is said where they match little or nothing."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from thoracle.errors import InputError, MetadataError
from thoracle.files.volume_list import COLUMNS, VolumeIdentity, read_volume_list, write_volume_list

#: Names as a manifest has them, with the hash of their bytes; the last has not been read yet.
VOLUMES = [("a_1.nii.gz", "1" * 64), ("a_2.nii.gz", "2" * 64), ("b_1", "3" * 64), ("c_1", "")]


def _list(folder: Path, text: str, name: str = "list.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def _selected(path: Path) -> tuple[list[str], int]:
    chosen, absent = read_volume_list(path).select(VOLUMES, identity=lambda pair: VolumeIdentity(names=(pair[0],), source_sha256=pair[1]))
    return [name for name, _ in chosen], absent


@pytest.mark.parametrize(
    ("text", "names", "absent"),
    [
        ("volume\nb_1\na_1.nii.gz\n", ["a_1.nii.gz", "b_1"], 0),
        ("VolumeName\na_1\nb_1.nii.gz\nzzz\n", ["a_1.nii.gz", "b_1"], 1),
        ("volume_name;age\n a_2.nii ;40\n", ["a_2.nii.gz"], 0),
        (f"volume,source_sha256\npseudonym,{'2' * 64}\n", ["a_2.nii.gz"], 0),
        (f"volume,source_sha256\na_1,{'1' * 64}\nb_1,{'9' * 64}\n", ["a_1.nii.gz"], 1),
        (f"volume,source_sha256\nc_1,{'9' * 64}\n", ["c_1"], 0),
        (f"volume,source_sha256\na_1,{'2' * 64}\n", ["a_2.nii.gz"], 0),
        (f"volume,source_sha256\n,{'3' * 64}\na_1,\n", ["a_1.nii.gz", "b_1"], 0),
        ("volume\na_1\na_1\na_1.nii.gz\n", ["a_1.nii.gz"], 0),
    ],
    ids=["names", "endings", "spelling", "pseudonym", "other bytes", "not read yet", "bytes before a name", "bytes alone", "twice"],
)
def test_volumes_are_selected_by_name_and_by_hash(tmp_path: Path, text: str, names: list[str], absent: int) -> None:
    assert _selected(_list(tmp_path, text)) == (names, absent)


def test_a_name_that_several_have_is_each_of_them(tmp_path: Path) -> None:
    chosen, absent = read_volume_list(_list(tmp_path, "volume\nx\n")).select([1, 2, 3], identity=lambda _: VolumeIdentity(names=("x", "y")))
    assert (chosen, absent) == ([1, 2, 3], 0)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows = [["a_1.nii.gz", "a", "A", "p", "train", "1" * 64], ['b,"1', "b", "*1", "=q", "", ""], ["b_1", "b", "B", "q", "valid", ""]]
    write_volume_list(tmp_path / "out.csv", rows)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert (lines[0], len(lines)) == (",".join(COLUMNS), 4)
    listed = read_volume_list(tmp_path / "out.csv")
    assert listed.volumes == (("a_1.nii.gz", "1" * 64), ('b,"1', ""), ("b_1", ""))
    assert _selected(tmp_path / "out.csv") == (["a_1.nii.gz", "b_1"], 1)
    assert listed.summary(2, 1) == "2 volumes are listed in out.csv; 1 of the 3 listed are not here."
    assert listed.summary(3, 0) == "3 volumes are listed in out.csv."


def test_no_cell_is_a_formula_and_its_volume_is_found_again(tmp_path: Path) -> None:
    names = ["=1+1.nii.gz", "+1+1", "-1+1.nii", "@x", "\t=1", "\r=2", "-5", "'=3", "a_1"]
    write_volume_list(tmp_path / "out.csv", ([name, name, "=2+2", "@p", "train", ""] for name in names))
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert [row[0] for row in rows] == ["'=1+1.nii.gz", "'+1+1", "'-1+1.nii", "'@x", "'\t=1", "'\r=2", "-5", "'=3", "a_1"]
    assert {tuple(row[2:]) for row in rows} == {("'=2+2", "'@p", "train", "")}
    assert (tmp_path / "out.csv").stat().st_mode & 0o777 == 0o600
    volumes = [*names, "zzz"]
    chosen, absent = read_volume_list(tmp_path / "out.csv").select(volumes, identity=lambda name: VolumeIdentity(names=(name,)))
    assert (chosen, absent) == (names, 0)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("volume\nzzz\nyyy\n", InputError, "lists 2 volumes, and none of them is here"),
        (f"volume,source_sha256\na_1,{'9' * 64}\n", InputError, "lists 1 volumes, and none of them is here"),
        ("volume\n", InputError, "lists no volume"),
        ("scan,accession\na,A\n", MetadataError, "has no column volume or VolumeName; its columns are scan, accession"),
        ("volume,age\n,40\n", MetadataError, "line 2 names no volume"),
    ],
)
def test_lists_that_select_nothing_are_refused(tmp_path: Path, text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        _selected(_list(tmp_path, text))


def test_a_list_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_volume_list(tmp_path / "none.csv")

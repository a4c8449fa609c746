"""Archives and folders that mean harm: paths and links that leave, bombs, what cannot be opened; none is followed or unpacked."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from thoracle.ct.dicom import files as sources
from thoracle.ct.dicom.reader import read_dicom
from thoracle.errors import BudgetExceeded, CorruptFile, ScanError, SliceGap, UnsafeArchive, UnsupportedFormat

Save = Callable[..., Path]


def _read(path: Path) -> object:
    return read_dicom(path, series=None, hu="auto", min_slices=10)


def _zip(path: Path, *members: tuple[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["/etc/cron.d/x", "../x", "a/../../x", "a\\..\\..\\x", "C:\\x", "\\\\host\\x"])
def test_a_path_that_leaves_the_archive(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeArchive, match="leaves"):
        _read(_zip(tmp_path / "a.zip", (name, b"x")))
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a.zip"]


def test_a_link_in_an_archive(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("slice")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UnsafeArchive, match="link"):
        _read(tmp_path / "a.zip")


def test_a_member_that_inflates_a_hundredfold(tmp_path: Path) -> None:
    bomb = _zip(tmp_path / "a.zip", ("slice", bytes(sources.FREE_BYTES + 1)))
    assert bomb.stat().st_size < 100_000
    with pytest.raises(BudgetExceeded, match="would inflate"):
        _read(bomb)


def test_a_member_that_inflates_to_more_than_it_says(forty: list[FileDataset], save: Save, tmp_path: Path) -> None:
    """The size in the directory is a lie; no more than it is ever inflated."""
    slice_bytes = next(save(forty).iterdir()).read_bytes()
    bomb = _zip(tmp_path / "a.zip", ("slice", slice_bytes + bytes(1 << 26)))
    content = bytearray(bomb.read_bytes())
    size = struct.pack("<I", len(slice_bytes) + (1 << 26))
    for _ in range(2):
        at = content.index(size)
        content[at : at + 4] = struct.pack("<I", len(slice_bytes))
    bomb.write_bytes(content)
    with pytest.raises(CorruptFile, match="could not be read"):
        _read(bomb)


def test_members_that_overlap(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", ("slice", os.urandom(1000)), packing=zipfile.ZIP_STORED)
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    entry, end = content[directory : content.index(b"PK\x05\x06")], bytearray(content[content.index(b"PK\x05\x06") :])
    struct.pack_into("<HHI", end, 8, 50, 50, 50 * len(entry))
    path.write_bytes(content[:directory] + 50 * entry + end)
    with pytest.raises(BudgetExceeded, match="overlap"):
        _read(path)


def test_an_archive_in_an_archive_is_not_opened(forty: list[FileDataset], save: Save, tmp_path: Path) -> None:
    inner = _zip(tmp_path / "inner.zip", *((f.name, f.read_bytes()) for f in save(forty).iterdir()))
    with pytest.raises(UnsupportedFormat, match="no DICOM"):
        _read(_zip(tmp_path / "outer.zip", ("inner.zip", inner.read_bytes())))


def test_what_cannot_be_unpacked_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormat, match="deflate"):
        _read(_zip(tmp_path / "a.zip", ("slice", b"x" * 100), packing=zipfile.ZIP_BZIP2))
    locked = bytearray(_zip(tmp_path / "b.zip", ("slice", b"x")).read_bytes())
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "b.zip").write_bytes(locked)
    with pytest.raises(UnsupportedFormat, match="encrypted"):
        _read(tmp_path / "b.zip")
    (tmp_path / "empty.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises(UnsupportedFormat, match="no DICOM image among 0"):
        _read(tmp_path / "empty.zip")


def test_every_cut_of_an_archive_is_an_error(forty: list[FileDataset], save: Save, tmp_path: Path) -> None:
    whole = _zip(tmp_path / "a.zip", *((f.name, f.read_bytes()) for f in save(forty).iterdir())).read_bytes()
    for cut in range(4, len(whole), len(whole) // 60):
        (tmp_path / "cut.zip").write_bytes(whole[:cut])
        with pytest.raises(ScanError):
            _read(tmp_path / "cut.zip")


@pytest.mark.parametrize("seed", range(40))
def test_an_edited_archive_is_read_or_refused(forty: list[FileDataset], save: Save, tmp_path: Path, seed: int) -> None:
    content = bytearray(_zip(tmp_path / "a.zip", *((f.name, f.read_bytes()) for f in save(forty[:10]).iterdir())).read_bytes())
    directory, random = content.index(b"PK\x01\x02"), np.random.default_rng(seed)
    for at in random.integers(directory, len(content), 3):
        content[at] = random.choice([0, 255, random.integers(256)])
    (tmp_path / "edited.zip").write_bytes(content)
    with contextlib.suppress(ScanError):
        assert read_dicom(tmp_path / "edited.zip", series=None, hu="auto", min_slices=10).voxels.shape == (10, 12, 10)


def test_a_member_without_a_name(tmp_path: Path) -> None:
    content = bytearray(_zip(tmp_path / "a.zip", ("x", b"")).read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 28] = 0  # length of the name
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ScanError):
        _read(tmp_path / "a.zip")


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_FILES", 5)
    archive = _zip(tmp_path / "a.zip", *((str(k), b"") for k in range(6)))
    with pytest.raises(BudgetExceeded, match="more than 5 files"):
        _read(archive)
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "folder")
    with pytest.raises(BudgetExceeded, match="more than 5 files"):
        _read(tmp_path / "folder")


def test_links_in_a_folder_are_not_followed_and_said(forty: list[FileDataset], save: Save, tmp_path: Path) -> None:
    elsewhere = save(forty[35:], "elsewhere")
    folder = save(forty[:35])
    (folder / "loop").symlink_to(folder)
    (folder / "more").symlink_to(elsewhere)
    (folder / "one").symlink_to(next(elsewhere.iterdir()))
    os.mkfifo(folder / "pipe")
    scan = read_dicom(folder, series=None, hu="auto", min_slices=10)
    assert scan.voxels.shape[2] == 35
    assert scan.repaired == ("links not followed: 3",)
    linked = tmp_path / "linked"
    linked.symlink_to(elsewhere)  # the user's own path is taken as it is
    with pytest.raises(ScanError, match="has 5 slice"):
        _read(linked)
    only = tmp_path / "only"
    only.mkdir()
    (only / "one").symlink_to(next(elsewhere.iterdir()))
    with pytest.raises(UnsupportedFormat, match="links not followed: 1"):
        _read(only)
    middle = sorted(folder.glob("*-17.dcm"))[0]
    middle.rename(tmp_path / "moved")
    middle.symlink_to(tmp_path / "moved")
    with pytest.raises(SliceGap):
        _read(folder)

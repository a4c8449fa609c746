"""Archives that mean harm: paths and links that leave, bombs, what cannot be opened. Folders: links, and what cannot be listed."""

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
from thoracle.ct.dicom import series_selection
from thoracle.ct.dicom.reader import read_dicom
from thoracle.errors import BudgetExceeded, CorruptFile, ScanError, ScanUnreadable, UnsafeArchive, UnsupportedFormat
from thoracle.files import folder_tree

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


def test_too_many_files(forty: list[FileDataset], save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive has a budget, and so has a series; a folder of many series has none."""
    monkeypatch.setattr(sources, "MAX_FILES", 5)
    with pytest.raises(BudgetExceeded, match="more than 5 files"):
        _read(_zip(tmp_path / "a.zip", *((str(k), b"") for k in range(6))))
    monkeypatch.setattr(series_selection, "MAX_FILES", 40)
    folder = save(forty)
    for ds in forty:
        ds.SeriesInstanceUID, ds.SOPInstanceUID, ds.Modality = "1.2.3.4", f"{ds.SOPInstanceUID}.1", "SR"
        ds.save_as(folder / f"report-{ds.InstanceNumber}")
    assert read_dicom(folder, series=None, hu="auto", min_slices=10).voxels.shape[2] == 40
    monkeypatch.setattr(series_selection, "MAX_FILES", 39)
    with pytest.raises(BudgetExceeded, match="series of more than 39 files"):
        _read(folder)


def test_links_in_a_folder_are_followed_to_files_and_cycles_end(forty: list[FileDataset], save: Save, tmp_path: Path) -> None:
    elsewhere = save(forty[35:], "elsewhere")
    folder = save(forty[:35])
    (folder / "loop").symlink_to(folder)
    (folder / "more").symlink_to(elsewhere)
    scan = read_dicom(folder, series=None, hu="auto", min_slices=10)
    assert (scan.voxels.shape[2], scan.repaired) == (40, ())
    (folder / "one").symlink_to(next(elsewhere.iterdir()))
    assert read_dicom(folder, series=None, hu="auto", min_slices=10).repaired == ("files that repeat an instance, counted once: 1",)
    linked = tmp_path / "linked"
    linked.symlink_to(elsewhere)
    with pytest.raises(ScanError, match="has 5 slice"):
        _read(linked)


def test_a_series_of_nothing_but_links_is_read(forty: list[FileDataset], save: Save, tmp_path: Path) -> None:
    """As git-annex, DataLad and caches of hubs keep files."""
    folder, store = save(forty), tmp_path / "store"
    expected = read_dicom(folder, series=None, hu="auto", min_slices=10)
    folder.rename(store)
    folder.mkdir()
    for number, file in enumerate(sorted(store.iterdir())):
        (folder / f"IM{number}").symlink_to(Path("..") / "store" / file.name)
    scan = read_dicom(folder, series=None, hu="auto", min_slices=10)
    assert (scan.sha256, scan.repaired) == (expected.sha256, ())


def test_what_ends_nowhere_is_named(forty: list[FileDataset], save: Save, tmp_path: Path) -> None:
    folder = save(forty)
    os.mkfifo(folder / "pipe")
    end = next(folder.glob("*-39.dcm"))
    end.unlink()
    end.symlink_to(tmp_path / "gone")
    scan = read_dicom(folder, series=None, hu="auto", min_slices=10)
    assert scan.voxels.shape[2] == 39
    assert set(scan.repaired) == {f"a link that ends nowhere: {end.name}", "no regular file: pipe"}
    assert len(scan.tags.warnings) == 1
    only = tmp_path / "only"
    only.mkdir()
    (only / "one").symlink_to(tmp_path / "gone")
    with pytest.raises(UnsupportedFormat, match="a link that ends nowhere: one"):
        _read(only)
    middle = next(folder.glob("*-17.dcm"))
    middle.unlink()
    middle.symlink_to(tmp_path / "gone")
    with pytest.raises(ScanUnreadable, match="dcm: a link that ends nowhere, and slices are missing"):
        _read(folder)


def test_a_folder_that_cannot_be_listed_refuses_what_may_be_half_a_series(
    forty: list[FileDataset], save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(forty[:20])
    (folder / "more").mkdir()
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if path.name == "more":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(folder_tree.os, "scandir", refusing)
    with pytest.raises(ScanUnreadable, match="more: a folder cannot be listed"):
        _read(folder)

"""Scans have random ids and nobody's name, are as many as may be, and leave nothing behind."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from thoracle.client.forms.service import ErrorBody
from thoracle.errors import NotReady, ServerFull, TruncatedFile, UnknownId
from thoracle.serving.scan_store import ScanStore


def store(folder: Path, *, open_scans: int = 2, disk_bytes: int = 100) -> ScanStore:
    return ScanStore(folder, open_scans=open_scans, disk_bytes=disk_bytes)


def test_scans_are_numbered_and_their_folders_are_their_owner_s(tmp_path: Path) -> None:
    scans = store(tmp_path)
    first, second = scans.open(), scans.open()
    assert [scan.label for scan in scans.scans()] == ["Scan 1", "Scan 2"]
    assert len({first.id, second.id}) == 2
    assert first.folder.stat().st_mode & 0o077 == 0
    assert scans.scan(first.id) is first
    scans.close(first)
    assert not first.folder.exists()
    with pytest.raises(UnknownId):
        scans.scan(first.id)
    assert scans.open().label == "Scan 3"


def test_there_are_as_many_and_as_large_as_may_be(tmp_path: Path) -> None:
    scans = store(tmp_path)
    scan = scans.open()
    scans.open()
    with pytest.raises(ServerFull, match="2 scans are open"):
        scans.open()
    scan.size = 90
    scans.reserve(10)
    with pytest.raises(ServerFull, match="disk"):
        scans.reserve(11)


def test_a_scan_that_is_not_read_says_why(tmp_path: Path) -> None:
    scans = store(tmp_path)
    scan = scans.open()
    with pytest.raises(NotReady):
        scans.ready_scan(scan.id)
    scan.state, scan.error = "refused", ErrorBody(kind="TruncatedFile", message="cut", detail="cut", hint="Copy it again.")
    with pytest.raises(TruncatedFile, match="Copy it again"):
        scans.ready_scan(scan.id)


def test_what_is_not_used_expires(tmp_path: Path) -> None:
    scans = store(tmp_path)
    old, new = scans.open(), scans.open()
    old.used_at = time.monotonic() - 100
    assert scans.expired(50) == [old]
    scans.scan(old.id)
    assert scans.expired(50) == []
    assert new in scans.scans()


def test_scans_of_a_server_that_was_killed_are_deleted(tmp_path: Path) -> None:
    left = store(tmp_path).open().folder
    (left / "upload").mkdir()
    again = store(tmp_path)
    assert not left.exists()
    again.clear()
    assert not (tmp_path / "scans").exists()

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from thoracle.files.atomic import atomic_file, make_private, make_private_folder, replace_folder, sha256, write_atomic


def test_what_is_written_replaces_what_was_there(tmp_path):
    path = tmp_path / "new" / "a.bin"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_a_fault_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "no bytes")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path / "folder", b"new")
    assert path.read_bytes() == b"old"
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.bin", "folder"}


def test_whoever_is_killed_leaves_a_whole_file(tmp_path):
    path = tmp_path / "a.bin"
    code = (
        "import sys; from pathlib import Path; from thoracle.files.atomic import write_atomic\n"
        "while True:\n for letter in b'ab': write_atomic(Path(sys.argv[1]), bytes([letter]) * 5_000_000)"
    )
    for pause in (0.0, 0.003, 0.008, 0.015, 0.025):
        with subprocess.Popen([sys.executable, "-c", code, str(path)]) as process:
            while not path.exists():
                time.sleep(0.01)
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
        content = path.read_bytes()
        assert len(content) == 5_000_000
        assert content == content[:1] * 5_000_000
        path.unlink()


def test_a_folder_takes_the_place_of_the_one_that_was_there(tmp_path):
    for content in ("old", "new"):
        temporary = tmp_path / ".model.tmp"
        (temporary / "deep").mkdir(parents=True)
        (temporary / "deep" / content).write_text(content)
        replace_folder(temporary, tmp_path / "model")
        assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
            "model",
            "model/deep",
            f"model/deep/{content}",
        ]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="names of open files are read from /proc")
def test_a_folder_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    out, flushed = tmp_path / "model", []

    def record(handle):
        flushed.append((os.readlink(f"/proc/self/fd/{handle}"), out.exists()))

    monkeypatch.setattr(os, "fsync", record)
    temporary = tmp_path / ".model.tmp"
    temporary.mkdir()
    (temporary / "weights").write_bytes(b"1")
    replace_folder(temporary, out)
    assert flushed == [(str(temporary / "weights"), False), (str(temporary), False), (str(tmp_path), True)]


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def _rights(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such rights")
def test_private_files_and_folders_are_their_owners_alone_from_the_start(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        write_atomic(tmp_path / "open", b"x")
        write_atomic(tmp_path / "open", b"x", private=True)
        write_atomic(tmp_path / "public", b"x")
        with atomic_file(tmp_path / "slow", private=True) as file:
            assert [_rights(path) for path in tmp_path.glob(".slow*")] == [0o600]
            file.write(b"x")
        make_private(tmp_path / "made")
        make_private(tmp_path / "public")
        make_private_folder(tmp_path / "deep" / "folder")
    finally:
        os.umask(umask)
    assert {_rights(tmp_path / name) for name in ("open", "slow", "made", "public")} == {0o600}
    assert (_rights(tmp_path / "deep" / "folder"), _rights(tmp_path / "deep")) == (0o700, 0o755)
    assert [(tmp_path / name).read_bytes() for name in ("made", "public")] == [b"", b"x"], "what a file holds stays"

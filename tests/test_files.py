from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from thoracle.files import write_atomic


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
        "import sys; from pathlib import Path; from thoracle.files import write_atomic\n"
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

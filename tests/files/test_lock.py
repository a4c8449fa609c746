from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from thoracle.errors import IndexBusy
from thoracle.files.lock import exclusive_lock

_FACT = "another process is at it"
_HOLDER = """
import sys, time
from pathlib import Path
from thoracle.errors import IndexBusy
from thoracle.files.lock import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), refusal=IndexBusy, detail="busy"):
    print("held", flush=True)
    time.sleep(600)
"""


def try_lock(folder: Path) -> bool:
    try:
        with exclusive_lock(folder, refusal=IndexBusy, detail=_FACT):
            return True
    except IndexBusy:
        return False


def test_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"held"
        with (
            pytest.raises(IndexBusy, match=r"another process is at it\. Wait for it"),
            exclusive_lock(tmp_path, refusal=IndexBusy, detail=_FACT),
        ):
            pytest.fail("the lock was free")
        process.send_signal(signal.SIGKILL)
    assert try_lock(tmp_path)


def test_one_holder_at_a_time_in_one_process(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path, refusal=IndexBusy, detail="busy"):
        assert not try_lock(tmp_path)
    assert try_lock(tmp_path)


def test_an_error_in_the_block_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), exclusive_lock(tmp_path, refusal=IndexBusy, detail="busy"):
        raise KeyError
    assert try_lock(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="replaces flock")
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    import fcntl

    def fail(handle: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(IndexBusy, match="does not lock files"), exclusive_lock(tmp_path, refusal=IndexBusy, detail="busy"):
        pytest.fail("no lock, and yet inside")

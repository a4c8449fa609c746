"""The worker's own bounds: it cannot take more memory than it was given, and what codecs print does not reach its answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from thoracle.ct.dicom.decoder import WORKER


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no address-space limit")
def test_memory_is_bounded() -> None:
    take = "from thoracle.ct.dicom import worker; worker._limit_memory(64 << 20); bytearray({} << 20)"
    for mebibytes, status in ((16, 0), (256, 1)):
        done = subprocess.run([sys.executable, "-c", take.format(mebibytes)], capture_output=True, text=True, check=False)
        assert done.returncode == status
        assert ("MemoryError" in done.stderr) == bool(status)


def test_answers_hold_frames_and_nothing_else(data_dir: Path) -> None:
    """GDCM prints "Unsupported JPEG data precision" on the way to twelve bits."""
    content = next((data_dir / "dicom" / "transfer_syntaxes").glob("*4.51.dcm")).read_bytes()
    request = {"length": len(content), "rows": 512, "columns": 512, "dtype": "<u2"}
    done = subprocess.run([*WORKER, "640"], input=json.dumps(request).encode() + b"\n" + content, capture_output=True, check=True)
    line, _, frame = done.stdout.partition(b"\n")
    assert json.loads(line) == {"error": None, "bits": None, "signed": None}
    assert len(frame) == 512 * 512 * 2


def test_the_working_directory_is_not_imported_from(tmp_path: Path) -> None:
    """A folder of images may hold a file named like a module."""
    (tmp_path / "json.py").write_text("raise SystemExit('ran what came with the scan')")
    done = subprocess.run([*WORKER, "640"], input=b"", capture_output=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, b"")

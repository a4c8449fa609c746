"""Write or replace a file or a folder whole, and hash files."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from pathlib import Path
from typing import Final

#: The end of every name that stands for a file in work.
TEMPORARY: Final = ".tmp"


def write_atomic(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that a kill leaves the old file or the new one, whole. Makes its folder.

    The new file is written beside the old one, flushed to the disk, and renamed.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:80]}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_folder(temporary: Path, out: Path) -> None:
    """Flush a finished folder to the disk and rename it to `out`, a sibling. A kill leaves the old folder or the new one.

    Between two renames there is an instant without `out`; the old folder then lies beside it, whole, with the suffix `.old`.

    Raises:
        OSError: it cannot be flushed or renamed.
    """
    for path in (*temporary.rglob("*"), temporary):
        _flush(path)
    if out.exists():
        old = temporary.with_suffix(".old")
        out.rename(old)
        temporary.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    else:
        temporary.rename(out)
    _flush(out.parent)


def sha256(path: Path) -> str:
    """Hash a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

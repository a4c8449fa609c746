"""Folders that are whole or absent, and hashes of files; knows no content."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def put_folder(temporary: Path, out: Path) -> None:
    """Flush a finished folder to the disk and give it the name `out`, a sibling; whoever is killed leaves the old folder or the new one.

    Between two renames there is an instant without `out`; the old folder then lies beside it, whole, with the suffix `.old`.
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


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

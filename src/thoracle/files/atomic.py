"""Write or replace a file or a folder whole, readable by its owner alone where it holds what is a patient's, and hash files."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

#: The end of every name that stands for a file in work.
TEMPORARY: Final = ".tmp"
_OWNER_FILE: Final = 0o600
_OWNER_FOLDER: Final = 0o700
_ANYONE_FILE: Final = 0o666  # less the umask


def write_atomic(path: Path, content: bytes | memoryview, *, private: bool = False) -> None:
    """Write a file so that a kill leaves the old file or the new one, whole. Makes its folder.

    Args:
        path: of the file.
        content: all of it.
        private: readable by its owner alone.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_file(path, private=private) as file:
        file.write(content)


@contextmanager
def atomic_file(path: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """Open a new file that takes the place of `path` at the end of the block, whole or not at all. Makes its folder.

    The new file is written beside the old one, flushed to the disk, and renamed.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with open_owned(temporary, "xb", private=private) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """Name a file in work in the folder of `path`; there is none of that name."""
    return path.with_name(f".{path.name[:80]}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")


def open_owned(path: Path, mode: str, *, private: bool) -> IO[bytes]:
    """Open a file to write bytes, unbuffered where it is appended to; a private one is, if it is new, its owner's alone from the start.

    Raises:
        OSError: it cannot be opened.
    """
    permissions = _OWNER_FILE if private else _ANYONE_FILE
    return open(path, mode, buffering=0 if "a" in mode else -1, opener=lambda name, flags: os.open(name, flags, permissions))


def make_private(path: Path) -> None:
    """Make an empty file that its owner alone can read, or take others' rights from one that is there. The file is never opened: SQLite's
    locks on it would be lost.

    Raises:
        OSError: it cannot be made, or its rights cannot be changed.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OWNER_FILE))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            path.chmod(_OWNER_FILE)


def make_private_folder(path: Path) -> None:
    """Make a folder that its owner alone can enter; one that is there stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=_OWNER_FOLDER, exist_ok=True)


def replace_folder(temporary: Path, out: Path) -> None:
    """Flush a finished folder to the disk and rename it to `out`, a sibling. A kill leaves the old folder or the new one.

    Between two renames there is an instant without `out`; the old folder then lies beside it, whole, with the suffix `.old`.

    Raises:
        OSError: it cannot be flushed or renamed.
    """
    for path in (*temporary.rglob("*"), temporary):
        flush_to_disk(path)
    if out.exists():
        old = temporary.with_suffix(".old")
        out.rename(old)
        temporary.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    else:
        temporary.rename(out)
    flush_to_disk(out.parent)


def sha256(path: Path) -> str:
    """Hash a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush_to_disk(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk. Windows opens no folders, and keeps their names by itself.

    Raises:
        OSError: it cannot be opened or flushed.
    """
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

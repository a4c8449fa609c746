"""List the files below a folder by one policy: links are followed to regular files and folders, and what cannot be listed is named.

Each folder is entered once, by its own path before any link to it, so that cycles end.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class UnlistedPath:
    """Name a path below a folder that gives no files, and why; files are lost by it where it is a folder or a file, nothing by "other"."""

    path: Path
    reason: str
    kind: Literal["folder", "file", "other"]


@dataclass(frozen=True, kw_only=True)
class FolderTree:
    """List regular files, links to them among these, in order of path, and what could not be listed."""

    files: tuple[Path, ...]
    unlisted: tuple[UnlistedPath, ...]


def list_tree(folder: Path, *, hidden: bool = False, marker: str = "") -> FolderTree:
    """List the files below a folder; a folder that does not exist is one that cannot be listed.

    Args:
        folder: where to begin; it may be a link itself.
        hidden: list names that begin with a dot too.
        marker: leave out each folder below that holds a file of this name; "" leaves out none.
    """
    files: list[Path] = []
    unlisted: list[UnlistedPath] = []
    above = {_identity(parent) for parent in folder.absolute().resolve().parents}
    entered: set[tuple[int, int]] = set()
    own, linked = deque([folder]), deque[Path]()
    while own or linked:
        directory = own.popleft() if own else linked.popleft()
        try:
            identity = _identity(directory)
            if identity in above:
                unlisted.append(UnlistedPath(path=directory, reason="a link back to a folder above", kind="other"))
            if identity in above | entered:
                continue
            entered.add(identity)
            with os.scandir(directory) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            unlisted.append(UnlistedPath(path=directory, reason=f"cannot be listed ({error.strerror})", kind="folder"))
            continue
        if marker and directory != folder and any(entry.name == marker for entry in entries):
            continue
        for entry in entries:
            path = directory / entry.name
            if entry.name.startswith(".") and not hidden:
                continue
            try:
                if entry.is_dir():
                    (linked if entry.is_symlink() else own).append(path)
                elif entry.is_file():
                    files.append(path)
                elif entry.is_symlink():
                    unlisted.append(UnlistedPath(path=path, reason="a link that ends nowhere", kind="file"))
                else:
                    unlisted.append(UnlistedPath(path=path, reason="no regular file", kind="other"))
            except OSError as error:
                unlisted.append(UnlistedPath(path=path, reason=f"cannot be followed ({error.strerror})", kind="file"))
    return FolderTree(
        files=tuple(sorted(files, key=os.fspath)), unlisted=tuple(sorted(unlisted, key=lambda unlisted_path: unlisted_path.path))
    )


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino

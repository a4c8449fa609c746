"""A new database, and a small disk."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thoracle.search.local.database import Database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """New, and open for writing."""
    database = Database(path, write=True)
    yield database
    database.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """4 MB that can really be full; only the administrator of a machine may mount it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no rights to mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.fixture(scope="session")
def content() -> Callable[[Path], bytes]:
    """`content(folder)`: what all its files hold."""
    return lambda folder: b"\0".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())

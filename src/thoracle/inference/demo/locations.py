"""Locate what Thoracle can compute again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from thoracle.files.atomic import TEMPORARY, write_atomic
from thoracle.files.cache_folder import cache_dir

_SCANS: Final = "scans.txt"


def demo_model() -> Path:
    """Return the folder of the model that `thoracle demo` trains, the default where no other is named."""
    return cache_dir() / "demo-model"


def demo_chat() -> Path:
    """Return the folder of the chat model that `thoracle demo` trains: model, base and encoder, each in its folder."""
    return cache_dir() / "demo-chat"


def demo_regions() -> Path:
    """Return the folder of the model that reads by region, which `thoracle demo` trains."""
    return cache_dir() / "demo-regions"


def demo_search() -> Path:
    """Return the folder of the index that `thoracle demo` makes, and of its model."""
    return cache_dir() / "demo-search"


def demo_search_scans() -> Path | None:
    """Return the folder of the scans of that index, where it is still there."""
    note = demo_search() / _SCANS
    folder = Path(note.read_text("utf-8")) if note.is_file() else None
    return folder if folder is not None and folder.is_dir() else None


def keep_demo_model(folder: Path) -> None:
    """Put a copy of a model folder where `demo_model` says, in place of an older one.

    Raises:
        OSError: it cannot be written.
    """
    _keep(demo_model(), {".": folder})


def keep_demo_chat(*, model: Path, base: Path, encoder: Path) -> None:
    """Put copies of a chat folder, its language model and its encoder where `demo_chat` says, in place of older ones.

    Raises:
        OSError: they cannot be written.
    """
    _keep(demo_chat(), {"model": model, "base": base, "encoder": encoder})


def keep_demo_regions(folder: Path) -> None:
    """Put a copy of a model that reads by region where `demo_regions` says, in place of an older one.

    Raises:
        OSError: it cannot be written.
    """
    _keep(demo_regions(), {".": folder})


def keep_demo_search(*, index: Path, model: Path, scans: Path) -> None:
    """Put copies of an index and its model where `demo_search` says, in place of older ones, and note where its scans are.

    Raises:
        OSError: they cannot be written.
    """
    _keep(demo_search(), {"index": index, "model": model})
    write_atomic(demo_search() / _SCANS, str(scans.resolve()).encode())


def _keep(target: Path, folders: Mapping[str, Path]) -> None:
    """Copies, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, suffix=TEMPORARY) as work:
        new, old = Path(work) / "new", Path(work) / "old"
        for name, folder in folders.items():
            shutil.copytree(folder, new / name)
        if target.exists():
            target.rename(old)
        new.rename(target)

"""Locate what Thoracle can compute again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from thoracle.files.atomic import TEMPORARY
from thoracle.files.cache_folder import cache_dir


def demo_model() -> Path:
    """Return the folder of the model that `thoracle demo` trains, the default where no other is named."""
    return cache_dir() / "demo-model"


def demo_chat() -> Path:
    """Return the folder of the chat model that `thoracle demo` trains: model, base and encoder, each in its folder."""
    return cache_dir() / "demo-chat"


def demo_regions() -> Path:
    """Return the folder of the model by region that `thoracle demo` fits."""
    return cache_dir() / "demo-regions"


def demo_index() -> Path:
    """Return the folder of the index of held-out phantoms that `thoracle demo` makes."""
    return cache_dir() / "demo-index"


def keep_demo(target: Path, folder: Path) -> None:
    """Put a copy of a folder where `demo_model`, `demo_regions` or `demo_index` says, in place of an older one.

    Raises:
        OSError: it cannot be written.
    """
    _keep(target, {".": folder})


def keep_demo_chat(*, model: Path, base: Path, encoder: Path) -> None:
    """Put copies of a chat folder, its language model and its encoder where `demo_chat` says, in place of older ones.

    Raises:
        OSError: they cannot be written.
    """
    _keep(demo_chat(), {"model": model, "base": base, "encoder": encoder})


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

"""Name the folder for what Thoracle can compute again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return `THORACLE_CACHE`, or a folder of the user's cache. The folder is not made here."""
    chosen = os.environ.get("THORACLE_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thoracle"

"""Where Thoracle keeps what it can compute again; knows no content."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """`THORACLE_CACHE`, or the user's cache folder. Not made here."""
    chosen = os.environ.get("THORACLE_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thoracle"


def demo_model() -> Path:
    """Where `thoracle demo` keeps the model it trains, which is used where no other is named."""
    return cache_dir() / "demo-model"

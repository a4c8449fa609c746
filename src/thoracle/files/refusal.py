"""Declare how this room raises the errors that its callers choose."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Refusal(Protocol):
    """Make the error to raise. Every class of `thoracle.errors` is one."""

    def __call__(self, detail: str, /, *, hint: str, source: str | Path | None = None) -> Exception:
        """Return the error, with what happened, how to mend it, and the file or folder."""
        ...

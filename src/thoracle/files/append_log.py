"""Append CSV rows and lines of text to files that survive a kill.

An append is one write and one flush to the disk, so a killed process leaves whole lines and at most one partial line behind them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from thoracle.files.atomic import open_owned
from thoracle.files.csv_text import csv_text


def append_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Append rows as `csv_text`; they are on the disk when this returns. Makes the file.

    Raises:
        OSError: it cannot be written.
    """
    _append(path, csv_text(rows), private=False)


def append_lines(path: Path, lines: Iterable[str], *, private: bool = False) -> None:
    """Append lines of text, given without line ends; they are on the disk when this returns. Makes the file, readable by its owner alone
    where it is private.

    Raises:
        OSError: it cannot be written.
    """
    _append(path, "".join(f"{line}\n" for line in lines), private=private)


def truncate_partial_line(path: Path) -> None:
    """Drop the partial line that a killed process left behind the last whole one. An absent file stays absent.

    Raises:
        OSError: it cannot be read or written.
    """
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            file.truncate(end)
            os.fsync(file.fileno())


def recover_lines(path: Path) -> list[bytes]:
    """Drop a partial last line, and read the whole ones, without line ends. An absent file has none.

    Raises:
        OSError: it cannot be read or written.
    """
    truncate_partial_line(path)
    return path.read_bytes().splitlines() if path.exists() else []


def _append(path: Path, text: str, *, private: bool) -> None:
    remaining = memoryview(text.encode())
    with open_owned(path, "ab", private=private) as file:
        while remaining:
            remaining = remaining[file.write(remaining) :]
        os.fsync(file.fileno())

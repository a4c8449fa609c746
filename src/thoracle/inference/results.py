"""A table that grows by one row a scan and survives being killed; knows nothing of models.

Beside FILE.csv lie FILE.csv.run.json, what its numbers depend on, FILE.errors.csv, the scans that failed in the last run, and
FILE.warnings.csv. A row is one write and one fsync, so a killed run loses at most the row in work; a cut last line is dropped.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from thoracle.errors import OutputConflict
from thoracle.files import write_atomic
from thoracle.inference.scans import VOLUME_NAME

SCHEMA: Final = "thoracle.run/2"


class ResultTable:
    """Rows by scan name.

    Args:
        path: the CSV; its folder is made.
        columns: after `VolumeName`.
        settings: JSON values that decide the numbers; a table is only continued with the same.

    Raises:
        OutputConflict: the file exists and was made with other settings, or by something else.
    """

    def __init__(self, path: Path, *, columns: Sequence[str], settings: Mapping[str, Any]) -> None:
        self.path = path
        self.columns = (VOLUME_NAME, *columns)
        path.parent.mkdir(parents=True, exist_ok=True)
        claim(path, {"schema": SCHEMA, **settings})
        cut_to_whole_lines(path)
        self.rows = _read_rows(path, self.columns)
        if not path.exists() or path.stat().st_size == 0:
            _append(path, self.columns)
        self._errors = path.with_suffix(".errors.csv")
        self._errors.unlink(missing_ok=True)  # what failed before is tried again

    def add(self, name: str, values: Sequence[str]) -> None:
        """Append one row; on the disk when this returns."""
        _append(self.path, (name, *values))
        self.rows[name] = tuple(values)

    def fail(self, name: str, error: str, message: str) -> None:
        """Note a scan that failed: the error's class, and a message without paths."""
        if not self._errors.exists():
            _append(self._errors, (VOLUME_NAME, "error", "message"))
        _append(self._errors, (name, error, message))

    def warn(self, name: str, warnings: Sequence[str]) -> None:
        """Note what is odd about a scan that was read."""
        path = self.path.with_suffix(".warnings.csv")
        for warning in warnings:
            if not path.exists():
                _append(path, (VOLUME_NAME, "warning"))
            _append(path, (name, warning))


def claim(path: Path, settings: dict[str, Any]) -> None:
    """Write the settings beside a new table, or compare them with those of an old one."""
    sidecar = path.with_name(path.name + ".run.json")
    if not sidecar.exists():
        if path.exists() and path.stat().st_size:
            raise OutputConflict(f"exists, but not {sidecar.name}", cure="Give another --out, or move the file away.", source=path)
        write_atomic(sidecar, (json.dumps(settings, indent=2) + "\n").encode())
        return
    try:
        before = json.loads(sidecar.read_text("utf-8"))
    except (ValueError, UnicodeDecodeError):
        before = None
    if not isinstance(before, dict):
        raise OutputConflict("is not a run description", cure="Move it and its table away.", source=sidecar)
    unlike = sorted(key for key in {*before, *settings} if before.get(key) != json.loads(json.dumps(settings.get(key))))
    if unlike:
        raise OutputConflict(
            f"was made with another {', '.join(unlike)}", cure="Give another --out, or the model and options of that run.", source=path
        )


def cut_to_whole_lines(path: Path) -> None:
    """Drop what a killed run left of its last line."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        os.fsync(file.fileno())


def _read_rows(path: Path, columns: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    if not path.exists() or path.stat().st_size == 0:
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        try:
            header = tuple(next(lines, ()))
            rows = [tuple(line) for line in lines]
        except (csv.Error, UnicodeDecodeError):
            header, rows = (), []
    if header != columns or any(len(row) != len(columns) for row in rows):
        raise OutputConflict(f"does not hold the columns {', '.join(columns[:3])}, …", cure="Move it away.", source=path)
    return {row[0]: row[1:] for row in rows}


def _append(path: Path, row: Sequence[str]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(handle, text.getvalue().encode("utf-8"))
        os.fsync(handle)
    finally:
        os.close(handle)

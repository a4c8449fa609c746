"""A table that grows by one row a scan and survives being killed.

Beside FILE.csv lie FILE.csv.run.json, what its numbers depend on, FILE.errors.csv, the scans that failed in the last run, and
FILE.warnings.csv. A row is one write and one fsync, so a killed run loses at most the row in work; a cut last line is dropped.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from thoracle.errors import OutputConflict
from thoracle.files.append_log import append_csv, truncate_partial_line
from thoracle.files.json_file import read_json_object
from thoracle.files.run_settings import check_or_write_settings
from thoracle.inference.batch.discover_scans import VOLUME_NAME

SCHEMA: Final = "thoracle.run/2"


class ResultTable:
    """Hold rows by scan name.

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
        truncate_partial_line(path)
        self.rows = _read_rows(path, self.columns)
        if not path.exists() or path.stat().st_size == 0:
            append_csv(path, [self.columns])
        self._errors = path.with_suffix(".errors.csv")
        self._errors.unlink(missing_ok=True)  # what failed before is tried again

    def add(self, name: str, values: Sequence[str]) -> None:
        """Append one row; on the disk when this returns."""
        append_csv(self.path, [(name, *values)])
        self.rows[name] = tuple(values)

    def fail(self, name: str, error: str, message: str) -> None:
        """Note a scan that failed: the error's class, and a message without paths."""
        if not self._errors.exists():
            append_csv(self._errors, [(VOLUME_NAME, "error", "message")])
        append_csv(self._errors, [(name, error, message)])

    def warn(self, name: str, warnings: Sequence[str]) -> None:
        """Note what is odd about a scan that was read."""
        path = self.path.with_suffix(".warnings.csv")
        for warning in warnings:
            if not path.exists():
                append_csv(path, [(VOLUME_NAME, "warning")])
            append_csv(path, [(name, warning)])


def claim(path: Path, settings: dict[str, Any]) -> None:
    """Write the settings beside a new table, or compare them with those of an old one.

    Raises:
        OutputConflict: the table was made with other settings, or by something else.
    """
    sidecar = path.with_name(path.name + ".run.json")
    if not sidecar.exists() and path.exists() and path.stat().st_size:
        raise OutputConflict(f"exists, but not {sidecar.name}", hint="Give another --out, or move the file away.", source=path)
    hint = "Give another --out, or the model and options of that run."
    check_or_write_settings(sidecar, settings=settings, read=_read_settings, refusal=OutputConflict, hint=hint, source=path)


def _read_settings(path: Path) -> dict[str, Any]:
    hint = "Move it and its table away."
    return read_json_object(path, parse=dict, refusal=OutputConflict, detail="is not a run description", hint=hint)


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
        raise OutputConflict(f"does not hold the columns {', '.join(columns[:3])}, …", hint="Move it away.", source=path)
    return {row[0]: row[1:] for row in rows}

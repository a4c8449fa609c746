"""A table that grows by one row a scan and survives being killed.

Each row says which bytes it was made of. Beside FILE.csv lie FILE.csv.run.json, what its numbers depend on; FILE.sources.csv, by which a
later run tells what has changed; FILE.errors.csv, the scans that failed in the last run; and FILE.warnings.csv. A row is one write and one
fsync, so a killed run loses at most the row in work; a cut last line is dropped. FILE.csv.lock lets one run at a time write.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from thoracle.errors import OutputConflict
from thoracle.files.append_log import append_csv, truncate_partial_line
from thoracle.files.atomic import write_atomic
from thoracle.files.csv_text import csv_text
from thoracle.files.json_file import read_json_object
from thoracle.files.lock import exclusive_lock
from thoracle.files.run_settings import check_or_write_settings
from thoracle.inference.batch.discover_scans import VOLUME_NAME
from thoracle.text_safety import spreadsheet_plain

SCHEMA: Final = "thoracle.run/3"
#: Columns between `VolumeName` and the numbers.
IDENTITY_COLUMNS: Final = ("source_sha256", "series")

_SOURCE_COLUMNS: Final = (VOLUME_NAME, *IDENTITY_COLUMNS, "reading", "stamp", "folder")
_LARGEST_CELL: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class RowSource:
    """Identify what a row was made of.

    Attributes:
        sha256: of the bytes that were read, as in `Provenance`.
        series: as the user chose it; "" where nobody did.
        reading: a hash of what else decides the row: a metadata row, a cached volume, a mask.
        stamp: a hash of the files' numbers, sizes and times; "" where they cannot vouch for the bytes.
        folder: a number of the folder that holds the scan, without its name; "" where nobody knows.
    """

    sha256: str
    series: str = ""
    reading: str = ""
    stamp: str = ""
    folder: str = ""

    def equals(self, source: RowSource) -> bool:
        """Tell whether rows made of both would be the same."""
        return (self.sha256, self.series, self.reading) == (source.sha256, source.series, source.reading)


class ResultTable:
    """Hold rows and their sources by scan name; a context, within which no other run writes the table.

    Args:
        path: the CSV; its folder is made.
        columns: after `VolumeName` and `IDENTITY_COLUMNS`.
        settings: JSON values that decide the numbers; a table is only continued with the same.

    Raises:
        OutputConflict: another run writes the file, or it was made with other settings, or by something else.
    """

    def __init__(self, path: Path, *, columns: Sequence[str], settings: Mapping[str, Any]) -> None:
        self.path = path
        self.columns = (VOLUME_NAME, *IDENTITY_COLUMNS, *columns)
        self._errors, self._warnings, self._sources = (path.with_suffix(f".{kind}.csv") for kind in ("errors", "warnings", "sources"))
        self._lock = ExitStack()
        self._lock.enter_context(lock_table(path))
        try:
            claim(path, {"schema": SCHEMA, **settings})
            truncate_partial_line(path)
            self.rows, self.sources = _read_rows(path, self.columns)
            if not path.exists() or path.stat().st_size == 0:
                append_csv(path, [self.columns])
            truncate_partial_line(self._sources)
            self.sources |= _read_sources(self._sources, self.sources)
            self._write_sources()
            self._errors.unlink(missing_ok=True)  # what failed before is tried again
            self._warned = {name for name, *_ in _read_lines(self._warnings)}
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.close()

    def add(self, name: str, values: Sequence[str], *, source: RowSource) -> None:
        """Append a row, or replace the one of that name; on the disk when this returns."""
        is_new = name not in self.rows
        self.rows[name] = tuple(values)
        self.sources[name] = source
        if is_new:  # the source first: a kill between the two leaves a source without a row, which is none
            append_csv(self._sources, [_source_line(name, source)])
            append_csv(self.path, [self._line(name)])
        else:  # the row first: a kill between the two leaves a row that nothing vouches for
            self._write_rows()
            append_csv(self._sources, [_source_line(name, source)])

    def vouch(self, name: str, source: RowSource) -> None:
        """Note where the bytes of a row lie now; the row stays.

        Raises:
            ValueError: its source is another one.
        """
        if not self.sources[name].equals(source):
            raise ValueError("another source")
        if self.sources[name] != source:
            self.sources[name] = source
            append_csv(self._sources, [_source_line(name, source)])

    def drop(self, name: str) -> None:
        """Remove a row that stands for nothing that can be read any more."""
        del self.rows[name], self.sources[name]
        self._write_rows()
        self._forget_warnings(name)

    def fail(self, name: str, error: str, message: str) -> None:
        """Note a scan that failed: the error's class, and a message without paths."""
        if not self._errors.exists():
            append_csv(self._errors, [(VOLUME_NAME, "error", "message")])
        append_csv(self._errors, [(name, error, message)])

    def warn(self, name: str, warnings: Sequence[str]) -> None:
        """Note what is odd about a scan that was read, in place of what was odd about it before."""
        self._forget_warnings(name)
        if not warnings:
            return
        self._warned.add(name)
        if not self._warnings.exists():
            append_csv(self._warnings, [(VOLUME_NAME, "warning")])
        append_csv(self._warnings, [(name, warning) for warning in warnings])

    def _line(self, name: str) -> tuple[str, ...]:
        source = self.sources[name]
        return (name, source.sha256, source.series, *self.rows[name])

    def _write_rows(self) -> None:
        _write_csv(self.path, [self.columns, *map(self._line, self.rows)])

    def _write_sources(self) -> None:
        _write_csv(self._sources, [_SOURCE_COLUMNS, *(_source_line(name, source) for name, source in self.sources.items())])

    def _forget_warnings(self, name: str) -> None:
        if name in self._warned:
            self._warned.remove(name)
            lines = [line for line in _read_lines(self._warnings) if line[0] != name]
            _write_csv(self._warnings, [(VOLUME_NAME, "warning"), *lines])


def lock_table(path: Path) -> AbstractContextManager[None]:
    """Return a context within which no other run writes a table.

    Raises:
        OutputConflict: another run does.
    """
    detail = f"another run is writing {path.name}"
    return exclusive_lock(path.parent, refusal=OutputConflict, detail=detail, name=f"{path.name}.lock")


def settings_path(path: Path) -> Path:
    """Return where the settings of a table lie."""
    return path.with_name(path.name + ".run.json")


def claim(path: Path, settings: dict[str, Any]) -> None:
    """Write the settings beside a new table, or compare them with those of an old one.

    Raises:
        OutputConflict: the table was made with other settings, or by something else.
    """
    sidecar = settings_path(path)
    if not sidecar.exists() and path.exists() and path.stat().st_size:
        raise OutputConflict(f"exists, but not {sidecar.name}", hint="Give another --out, or move the file away.", source=path)
    hint = "Give another --out, or the model and options of that run."
    check_or_write_settings(sidecar, settings=settings, read=_read_settings, refusal=OutputConflict, hint=hint, source=path)


def _read_settings(path: Path) -> dict[str, Any]:
    hint = "Move it and its table away."
    settings = read_json_object(path, parse=dict, refusal=OutputConflict, detail="is not a run description", hint=hint)
    if settings.get("schema") != SCHEMA:
        table = path.name.removesuffix(".run.json")
        detail = f"is of form {settings.get('schema')!s:.40}, which does not say which bytes each row belongs to; {SCHEMA} does"
        hint = f"Move {table} and {path.name} away, and give the same command again: it makes {table} anew."
        raise OutputConflict(detail, hint=hint, source=path)
    return settings


def _read_rows(path: Path, columns: tuple[str, ...]) -> tuple[dict[str, tuple[str, ...]], dict[str, RowSource]]:
    if not path.exists() or path.stat().st_size == 0:
        return {}, {}
    csv.field_size_limit(_LARGEST_CELL)
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        try:
            header = tuple(map(spreadsheet_plain, next(lines, ())))
            rows = [tuple(map(spreadsheet_plain, line)) for line in lines]
        except (csv.Error, UnicodeDecodeError):
            header, rows = (), []
    if header != columns or any(len(row) != len(columns) for row in rows):
        raise OutputConflict(f"does not hold the columns {', '.join(columns[:5])}, …", hint="Move it away.", source=path)
    sources = {name: RowSource(sha256=sha256, series=series) for name, sha256, series, *_ in rows}
    return {row[0]: row[1 + len(IDENTITY_COLUMNS) :] for row in rows}, sources


def _read_sources(path: Path, sources: Mapping[str, RowSource]) -> dict[str, RowSource]:
    """What is known of rows beside their columns; the last line of a name counts, and only where it is of the row's own bytes."""
    last = {line[0]: line[1:] for line in _read_lines(path) if len(line) == len(_SOURCE_COLUMNS)}
    known = {}
    for name, (sha256, series, reading, stamp, folder) in last.items():
        if name in sources and (sources[name].sha256, sources[name].series) == (sha256, series):
            known[name] = replace(sources[name], reading=reading, stamp=stamp, folder=folder)
    return known


def _read_lines(path: Path) -> list[list[str]]:
    """Lines after the first; none where there is no such file, or it is none of ours."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        try:
            return [[*map(spreadsheet_plain, line)] for line in csv.reader(file) if line][1:]
        except (csv.Error, UnicodeDecodeError):
            return []


def _source_line(name: str, source: RowSource) -> tuple[str, ...]:
    return (name, source.sha256, source.series, source.reading, source.stamp, source.folder)


def _write_csv(path: Path, lines: Iterable[Sequence[str]]) -> None:
    write_atomic(path, csv_text(lines).encode())

"""Labels of a table of reports, streamed to a file that survives being killed; knows no terminal.

Beside LABELS.csv lie LABELS.csv.run.json, what its rows depend on, and LABELS.unknown.csv, the reports that were not labelled and why.
Rows are written in the order of the reports, a few hundred at a time, the evidence before the labels: what a killed run left of the last
ones is cut away, and the run goes on behind the last whole row.
"""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

from thoracle.errors import InputError, OutputConflict
from thoracle.inference.label.evidence import Labels
from thoracle.inference.label.tables import ReportTable, Row
from thoracle.inference.results import SCHEMA, claim, cut_to_whole_lines
from thoracle.types import ABNORMALITIES, RESEARCH_USE
from thoracle.version import __version__

_AT_ONCE: Final = 250
_AHEAD: Final = 4  # batches that wait for each worker


class Labeller(Protocol):
    """A backend: reports in, labels out. One that runs in several processes can be pickled.

    Attributes:
        name: "rules", "classifier", "llm" or "auto".
        parallel: whether several processes are of use; a network has threads of its own.
    """

    @property
    def name(self) -> str:
        """See above."""
        ...

    @property
    def parallel(self) -> bool:
        """See above."""
        ...

    def settings(self) -> dict[str, Any]:
        """What its labels depend on, as JSON values."""
        ...

    def label(self, reports: Sequence[str]) -> list[Labels]:
        """Labels of each report, in order; a report that is no text, or no English, is unknown."""
        ...


@dataclass(frozen=True, kw_only=True)
class Progress:
    """After some rows: how many are done in all, how many of them in this run, how many are unknown, and the place in the file (0 to 1)."""

    done: int
    now: int
    unknown: int
    place: float


def label_table(table: ReportTable, labeller: Labeller, *, out: Path, evidence: Path | None = None, workers: int = 1) -> Iterator[Progress]:
    """Label every report of a table, or go on where a killed run stopped.

    Args:
        table: the reports.
        labeller: the backend.
        out: CSV, a row a report: the id and CT-RATE's columns, 1, 0, or nothing for unknown.
        evidence: JSON lines, why each label is what it is.
        workers: processes, for backends that can be in several.

    Raises:
        InputError: `out` is the table itself.
        MetadataError: the table cannot be read.
        OutputConflict: `out` exists and was made of another table, backend or settings.
    """
    if any(path is not None and path.resolve() == table.path.resolve() for path in (out, evidence)):
        raise InputError("the labels would be written over the reports", cure="Give another --out.", source=out)
    files = _Files(table, labeller, out, evidence)
    rows = islice(table.rows(), files.done, None)
    unknown, now = files.unknown, 0
    for batch, labels in _labelled(rows, labeller, workers):
        files.add(batch, labels)
        unknown += sum(bool(one.unknown) for one in labels)
        now += len(batch)
        yield Progress(done=files.done, now=now, unknown=unknown, place=batch[-1].place)
    if not now:
        yield Progress(done=files.done, now=0, unknown=unknown, place=1.0)


def label_rows(labeller: Labeller, rows: Sequence[Row]) -> list[Labels]:
    """Labels of rows; a row with a fault is unknown for that reason."""
    sound = iter(labeller.label([row.text for row in rows if not row.fault]))
    return [Labels.none(row.fault) if row.fault else next(sound) for row in rows]


def _labelled(rows: Iterator[Row], labeller: Labeller, workers: int) -> Iterator[tuple[list[Row], list[Labels]]]:
    """Batches in order; a bounded number wait at a time."""
    batches = iter(lambda: list(islice(rows, _AT_ONCE)), [])
    if workers == 1 or not labeller.parallel:
        yield from ((batch, label_rows(labeller, batch)) for batch in batches)
        return
    waiting: deque[tuple[list[Row], Future[list[Labels]]]] = deque()
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for batch in batches:
                waiting.append((batch, pool.submit(label_rows, labeller, batch)))
                if len(waiting) >= _AHEAD * workers:
                    oldest, future = waiting.popleft()
                    yield oldest, future.result()
            while waiting:
                oldest, future = waiting.popleft()
                yield oldest, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Files:
    """Labels, evidence and unknowns on the disk; `done` rows of them are whole."""

    def __init__(self, table: ReportTable, labeller: Labeller, out: Path, evidence: Path | None) -> None:
        self._out, self._evidence, self._unknown = out, evidence, out.with_suffix(".unknown.csv")
        columns = (table.id_column, *ABNORMALITIES)
        out.parent.mkdir(parents=True, exist_ok=True)
        settings = {"thoracle": __version__, "reports": table.fingerprint(), "backend": labeller.name, **labeller.settings()}
        claim(out, {"schema": SCHEMA, **settings, "evidence": evidence is not None, "notice": RESEARCH_USE})
        cut_to_whole_lines(out)
        if not out.exists() or out.stat().st_size == 0:
            _append(out, [columns])
        self.done = _count_rows(out, columns)
        if evidence is not None:
            evidence.parent.mkdir(parents=True, exist_ok=True)
            _keep_lines(evidence, self.done)
        self.unknown = _keep_unknown(self._unknown, self.done)

    def add(self, rows: Sequence[Row], labels: Sequence[Labels]) -> None:
        """Append rows; on the disk when this returns."""
        if self._evidence is not None:
            lines = (json.dumps({"id": _clean(row.id), **one.as_dict()}, ensure_ascii=False) for row, one in zip(rows, labels, strict=True))
            _write(self._evidence, "".join(f"{line}\n" for line in lines))
        faults = [(self.done + place, _clean(rows[place].id), one.unknown) for place, one in enumerate(labels) if one.unknown]
        if faults:
            _append(self._unknown, faults if self._unknown.exists() else [("row", "id", "reason"), *faults])
        _append(self._out, [(_clean(row.id), *map(_cell, one.values)) for row, one in zip(rows, labels, strict=True)])
        self.done += len(rows)


def _cell(value: int | None) -> str:
    return "" if value is None else str(value)


def _clean(text: str) -> str:
    """Without what cannot be written as UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _count_rows(path: Path, columns: tuple[str, ...]) -> int:
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        if tuple(next(lines, ())) != columns:
            raise OutputConflict(f"does not hold the columns {', '.join(columns[:3])}, …", cure="Move it away.", source=path)
        return sum(1 for _ in lines)


def _keep_lines(path: Path, count: int) -> None:
    """Cut a file behind its first `count` lines."""
    if not path.exists():
        path.touch()
    with path.open("r+b") as file:
        whole = sum(1 for _ in islice(file, count))
        if whole < count:
            raise OutputConflict(f"has {whole:,} lines, its labels {count:,}", cure="Move both away.", source=path)
        file.truncate(_tell_after(file, count))


def _tell_after(file: io.BufferedRandom, count: int) -> int:
    file.seek(0)
    return sum(len(line) for line in islice(file, count))


def _keep_unknown(path: Path, done: int) -> int:
    """Drop the unknowns of rows that are not done; returns how many are left."""
    if not path.exists():
        return 0
    cut_to_whole_lines(path)
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    kept = [line for line in lines if int(line[0]) < done]
    path.unlink()
    _append(path, [header, *kept])
    return len(kept)


def _append(path: Path, rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    _write(path, text.getvalue())


def _write(path: Path, text: str) -> None:
    with path.open("ab") as file:
        file.write(text.encode("utf-8", "replace"))
        file.flush()
        os.fsync(file.fileno())

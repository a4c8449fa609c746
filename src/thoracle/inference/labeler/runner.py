"""Labels of a table of reports, streamed to a file that survives being killed.

Beside LABELS.csv lie LABELS.csv.run.json, what its rows depend on, and LABELS.unknown.csv, the reports that were not labelled and why.
Rows are written in the order of the reports, a few hundred at a time, the evidence before the labels: what a killed run left of the last
ones is cut away, and the run goes on behind the last whole row.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from thoracle.cohort.label_missing import Labeller
from thoracle.errors import InputError, OutputConflict
from thoracle.execution.executor import Executor, ItemOutcome
from thoracle.execution.local import LocalExecutor
from thoracle.files.append_log import append_csv, append_lines, truncate_partial_line
from thoracle.inference.batch.result_table import SCHEMA, claim, lock_table
from thoracle.inference.labeler.evidence import Labels
from thoracle.inference.labeler.report_table import ReportRow, ReportTable
from thoracle.text_safety import spreadsheet_safe
from thoracle.types import ABNORMALITIES, RESEARCH_USE
from thoracle.version import __version__

_AT_ONCE: Final = 250


class LabelerBackend(Labeller, Protocol):
    """Label reports with evidence. A backend that runs in several processes pickles."""

    @property
    def parallel(self) -> bool:
        """Tell whether several processes help: a network has threads of its own."""
        ...

    def label(self, reports: Sequence[str]) -> list[Labels]:
        """Label each report, in order; a report that is no text, or no English, is unknown."""
        ...


@dataclass(frozen=True, kw_only=True)
class LabelProgress:
    """Report after some rows how many are done in all, how many of them in this run, how many are unknown, and the place in the file (0
    to 1).
    """

    completed: int
    now: int
    unknown: int
    position: float


def label_table(
    table: ReportTable, labeller: LabelerBackend, *, out: Path, evidence: Path | None = None, workers: int = 1
) -> Iterator[LabelProgress]:
    """Label every report of a table, or go on where a killed run stopped.

    Args:
        table: the reports.
        labeller: the backend.
        out: CSV, a row a report: the id and CT-RATE's columns, 1, 0, or nothing for unknown.
        evidence: JSON lines, why each label is what it is.
        workers: processes, for backends that can be in several.

    Raises:
        InputError: `out` is the table itself, or there is less than one worker.
        MetadataError: the table cannot be read.
        OutputConflict: another run writes `out`, or it was made of another table, backend or settings.
        WorkerKilled: a batch cost two workers their lives; the rows before it are written.
    """
    if any(path is not None and path.resolve() == table.path.resolve() for path in (out, evidence)):
        raise InputError("the labels would be written over the reports", hint="Give another --out.", source=out)
    if table.path.suffix.lower() != ".xlsx":
        for _ in table.rows():  # another encoding is said before anything is written
            pass
    executor = LocalExecutor(workers=workers if labeller.parallel else 1)
    with lock_table(out):
        files = _Files(table, labeller, out, evidence)
        rows = islice(table.rows(), files.done, None)
        unknown, now = files.unknown, 0
        for batch, labels in _labelled(rows, labeller, executor):
            files.add(batch, labels)
            unknown += sum(bool(row_labels.unknown) for row_labels in labels)
            now += len(batch)
            yield LabelProgress(completed=files.done, now=now, unknown=unknown, position=batch[-1].position)
        if not now:
            yield LabelProgress(completed=files.done, now=0, unknown=unknown, position=1.0)


def label_rows(labeller: LabelerBackend, rows: Sequence[ReportRow]) -> list[Labels]:
    """Label rows; a row with a fault is unknown for that reason."""
    sound = iter(labeller.label([row.text for row in rows if not row.fault]))
    return [Labels.none(row.fault) if row.fault else next(sound) for row in rows]


def _labelled(rows: Iterator[ReportRow], labeller: LabelerBackend, executor: Executor) -> Iterator[tuple[list[ReportRow], list[Labels]]]:
    """Yield batches of rows and their labels in the order of the rows; batches that end early wait for those before them."""
    at_once = getattr(labeller, "at_once", _AT_ONCE)
    batches = iter(lambda: list(islice(rows, at_once)), [])
    early: dict[int, ItemOutcome[list[ReportRow], list[Labels]]] = {}
    due = 0
    with closing(executor.map(partial(_row_labeller, labeller), batches)) as outcomes:
        for finished in outcomes:
            early[finished.index] = finished
            while due in early:
                outcome = early.pop(due)
                due += 1
                yield outcome.item, outcome.output_or_raise()


def _row_labeller(labeller: LabelerBackend) -> Callable[[Sequence[ReportRow]], list[Labels]]:
    """Make the function of a worker, which is given the backend once."""
    return partial(label_rows, labeller)


class _Files:
    """Labels, evidence and unknowns on the disk; `done` rows of them are whole."""

    def __init__(self, table: ReportTable, labeller: LabelerBackend, out: Path, evidence: Path | None) -> None:
        self._out, self._evidence, self._unknown = out, evidence, out.with_suffix(".unknown.csv")
        columns = (_clean(table.id_column), *ABNORMALITIES)
        out.parent.mkdir(parents=True, exist_ok=True)
        settings = {"thoracle": __version__, "reports": table.fingerprint(), "backend": labeller.name, **labeller.settings()}
        claim(out, {"schema": SCHEMA, **settings, "evidence": evidence is not None, "notice": RESEARCH_USE})
        truncate_partial_line(out)
        if not out.exists() or out.stat().st_size == 0:
            append_csv(out, [columns])
        self.done = _count_rows(out, columns)
        if evidence is not None:
            evidence.parent.mkdir(parents=True, exist_ok=True)
            _keep_lines(evidence, self.done)
        self.unknown = _keep_unknown(self._unknown, self.done)

    def add(self, rows: Sequence[ReportRow], labels: Sequence[Labels]) -> None:
        """Append rows; on the disk when this returns."""
        if self._evidence is not None:
            lines = (
                json.dumps({"id": row.id, **row_labels.as_dict()}, ensure_ascii=False) for row, row_labels in zip(rows, labels, strict=True)
            )
            append_lines(self._evidence, map(_clean, lines))
        faults = [
            (self.done + offset, _cell_text(rows[offset].id), spreadsheet_safe(row_labels.unknown))
            for offset, row_labels in enumerate(labels)
            if row_labels.unknown
        ]
        if faults:
            append_csv(self._unknown, faults if self._unknown.exists() else [("row", "id", "reason"), *faults])
        append_csv(self._out, [(_cell_text(row.id), *map(_cell, row_labels.values)) for row, row_labels in zip(rows, labels, strict=True)])
        self.done += len(rows)


def _cell(value: int | None) -> str:
    return "" if value is None else str(value)


def _cell_text(text: str) -> str:
    """Clean text that a spreadsheet will show."""
    return spreadsheet_safe(_clean(text))


def _clean(text: str) -> str:
    """Without what cannot be written as UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _count_rows(path: Path, columns: tuple[str, ...]) -> int:
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        if tuple(next(lines, ())) != columns:
            raise OutputConflict(f"does not hold the columns {', '.join(columns[:3])}, …", hint="Move it away.", source=path)
        return sum(1 for _ in lines)


def _keep_lines(path: Path, count: int) -> None:
    """Cut a file behind its first `count` lines."""
    if not path.exists():
        path.touch()
    with path.open("r+b") as file:
        complete = sum(1 for _ in islice(file, count))
        if complete < count:
            raise OutputConflict(f"has {complete:,} lines, its labels {count:,}", hint="Move both away.", source=path)
        file.truncate(_tell_after(file, count))


def _tell_after(file: io.BufferedRandom, count: int) -> int:
    file.seek(0)
    return sum(len(line) for line in islice(file, count))


def _keep_unknown(path: Path, completed: int) -> int:
    """Drop the unknowns of rows that are not done; returns how many are left."""
    if not path.exists():
        return 0
    truncate_partial_line(path)
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    rows = [line for line in lines if int(line[0]) < completed]
    path.unlink()
    append_csv(path, [header, *rows])
    return len(rows)

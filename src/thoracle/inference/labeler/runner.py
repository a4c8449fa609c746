"""Labels of a table of reports, streamed to a file that survives being killed.

Beside LABELS.csv lie LABELS.csv.run.json, what its rows depend on, and LABELS.unknown.csv, the reports that were not labelled and why.
Rows are written in the order of the reports, a few hundred at a time, the evidence before the labels: what a killed run left of the last
ones is cut away, and the run goes on behind the last whole row.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from thoracle.cohort.label_missing import Labeller
from thoracle.errors import InputError, OutputConflict
from thoracle.execution.executor import Executor, ItemOutcome
from thoracle.execution.local import LocalExecutor
from thoracle.files.append_log import append_csv, append_lines
from thoracle.files.atomic import make_private, write_atomic
from thoracle.files.csv_text import csv_text
from thoracle.inference.batch.result_table import SCHEMA, claim, lock_table, settings_path
from thoracle.inference.labeler.evidence import Labels
from thoracle.inference.labeler.report_table import ReportRow, ReportTable
from thoracle.text_safety import spreadsheet_plain, spreadsheet_safe
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
    """Report how far a run is after some rows.

    Attributes:
        completed: rows that are done in all.
        now: those of this run.
        unknown: reports without labels in all.
        position: the place in the file, 0 to 1.
        windowed: reports of this run that are longer than a network reads at once, and were read in several windows.
        formulas: ids of this run that a spreadsheet runs as a formula.
    """

    completed: int
    now: int
    unknown: int
    position: float
    windowed: int = 0
    formulas: int = 0


def label_table(
    table: ReportTable,
    labeller: LabelerBackend,
    *,
    out: Path,
    evidence: Path | None = None,
    workers: int = 1,
    abnormalities: Sequence[str] = ABNORMALITIES,
    states: bool = False,
) -> Iterator[LabelProgress]:
    """Label every report of a table, or go on where a killed run stopped.

    Args:
        table: the reports.
        labeller: the backend.
        out: CSV, a row a report: the id and a column an abnormality, 1, 0, or nothing for unknown.
        evidence: JSON lines, why each label is what it is: words of reports, which the owner of the file alone can read.
        workers: processes, for backends that can be in several.
        abnormalities: what the backend labels, in its order.
        states: write "stated", "denied", "uncertain" and "not mentioned" in place of 1 and 0.

    Raises:
        InputError: two of the files are one, or there is less than one worker.
        MetadataError: the table cannot be read.
        OutputConflict: another run writes `out`, or it was made of another table, backend or settings.
        WorkerKilled: a batch cost two workers their lives; the rows before it are written.
    """
    _check_paths(table.path, out, evidence)
    rows = table.rows()
    deque(rows if table.path.suffix.lower() != ".xlsx" else islice(rows, 1), maxlen=0)  # what is wrong is said before anything is written
    executor = LocalExecutor(workers=workers if labeller.parallel else 1)
    with lock_table(out), _removed_if_empty(out, evidence):
        files = _Files(table, labeller, out, evidence, columns=abnormalities, states=states)
        rows = islice(table.rows(), files.done, None)
        progress = LabelProgress(completed=files.done, now=0, unknown=files.unknown, position=1.0)
        for batch, labels in _labelled(rows, labeller, executor):
            files.add(batch, labels)
            progress = LabelProgress(
                completed=files.done,
                now=progress.now + len(batch),
                unknown=progress.unknown + sum(bool(row_labels.unknown) for row_labels in labels),
                position=batch[-1].position,
                windowed=progress.windowed + sum(row_labels.windows > 1 for row_labels in labels),
                formulas=progress.formulas + sum(spreadsheet_safe(row.id) != row.id for row in batch),
            )
            yield progress
        if not progress.now:
            yield progress


def _check_paths(reports: Path, out: Path, evidence: Path | None) -> None:
    """Refuse files that are one: by name, or as links to one file."""
    if any(path is not None and _is_one_file(path, reports) for path in (out, evidence)):
        raise InputError("the labels would be written over the reports", hint="Give another --out.", source=out)
    if evidence is not None and any(_is_one_file(evidence, path) for path in (out, _unknown_path(out), settings_path(out))):
        raise InputError("labels and evidence would be written to one file", hint="Give another --evidence.", source=evidence)


def _is_one_file(path: Path, other: Path) -> bool:
    return path.resolve() == other.resolve() or (path.exists() and other.exists() and path.samefile(other))


def _unknown_path(out: Path) -> Path:
    return out.with_suffix(".unknown.csv")


@contextmanager
def _removed_if_empty(out: Path, evidence: Path | None) -> Iterator[None]:
    """Remove what a run made that stopped by an error before its first row."""
    paths = [path for path in (out, evidence, settings_path(out)) if path is not None and not path.exists()]
    try:
        yield
    except Exception:
        if out in paths and not (out.exists() and _count_lines(out) > 1):
            for path in paths:
                path.unlink(missing_ok=True)
        raise


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in islice(file, 2))


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

    def __init__(
        self, table: ReportTable, labeller: LabelerBackend, out: Path, evidence: Path | None, *, columns: Sequence[str], states: bool
    ) -> None:
        self._out, self._evidence, self._unknown, self._states = out, evidence, _unknown_path(out), states
        columns = (_clean(table.id_column), *columns)
        out.parent.mkdir(parents=True, exist_ok=True)
        settings = {"thoracle": __version__, "reports": table.fingerprint(), "backend": labeller.name, **labeller.settings()}
        if states:
            settings["cells"] = "states"
        claim(out, {"schema": SCHEMA, **settings, "evidence": evidence is not None, "notice": RESEARCH_USE})
        _truncate_partial_row(out)
        if not out.exists() or out.stat().st_size == 0:
            append_csv(out, [columns])
        self.done = _count_rows(out, columns)
        if getattr(labeller, "asks_again", False) and (unknown := _unknown_rows(self._unknown)):
            self.done = min(self.done, unknown[0])
            _keep_rows(out, self.done)
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
            append_lines(self._evidence, map(_clean, lines), private=True)
        faults = [
            (self.done + offset, _clean(rows[offset].id), row_labels.unknown)
            for offset, row_labels in enumerate(labels)
            if row_labels.unknown
        ]
        if faults:
            append_csv(self._unknown, faults if self._unknown.exists() else [("row", "id", "reason"), *faults])
        append_csv(self._out, [(_clean(row.id), *self._cells(row_labels)) for row, row_labels in zip(rows, labels, strict=True)])
        self.done += len(rows)

    def _cells(self, labels: Labels) -> Iterator[str]:
        for cell in labels.states if self._states else labels.values:
            yield "" if cell is None else str(cell)


def _clean(text: str) -> str:
    """Without what cannot be written as UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _truncate_partial_row(path: Path) -> None:
    """Drop the partial row that a killed run left: behind the last line end that is in no quoted cell. An absent file stays absent."""
    if not path.exists():
        return
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    while content.count(b'"', 0, end) % 2:
        end = content.rfind(b"\n", 0, end - 1) + 1
    os.truncate(path, end)


def _count_rows(path: Path, columns: tuple[str, ...]) -> int:
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        if tuple(map(spreadsheet_plain, next(lines, ()))) != columns:
            raise OutputConflict(f"does not hold the columns {', '.join(columns[:3])}, …", hint="Move it away.", source=path)
        return sum(1 for _ in lines)


def _keep_rows(path: Path, count: int) -> None:
    """Cut a table behind its first `count` rows."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(islice(csv.reader(file), 1 + count))
    write_atomic(path, csv_text(lines).encode())


def _keep_lines(path: Path, count: int) -> None:
    """Cut a file behind its first `count` lines."""
    make_private(path)
    with path.open("r+b") as file:
        complete = sum(1 for _ in islice(file, count))
        if complete < count:
            raise OutputConflict(f"has {complete:,} lines, its labels {count:,}", hint="Move both away.", source=path)
        file.truncate(_tell_after(file, count))


def _tell_after(file: io.BufferedRandom, count: int) -> int:
    file.seek(0)
    return sum(len(line) for line in islice(file, count))


def _unknown_rows(path: Path) -> list[int]:
    if not path.exists():
        return []
    _truncate_partial_row(path)
    with path.open(newline="", encoding="utf-8") as file:
        return [int(line[0]) for line in islice(csv.reader(file), 1, None)]


def _keep_unknown(path: Path, completed: int) -> int:
    """Drop the unknowns of rows that are not done; returns how many are left."""
    if not path.exists():
        return 0
    _truncate_partial_row(path)
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    rows = [line for line in lines if int(line[0]) < completed]
    path.unlink()
    append_csv(path, [header, *rows])
    return len(rows)

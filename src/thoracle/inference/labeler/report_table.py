"""Tables of reports, row by row: CSV, Excel and JSON lines, larger than memory or not.

A table that cannot be read is an error. A row that cannot be is a row with a fault: it becomes an unknown, and the others go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thoracle.errors import InputError, MetadataError
from thoracle.files.atomic import sha256
from thoracle.files.listed_names import column_key
from thoracle.files.table import TABLE_SUFFIXES, UTF_8, TextTable

#: The names of columns in the data the published labeller was trained on.
TEXT_COLUMN: Final = "report_text"
ID_COLUMN: Final = "AccessionNo"

_SHOWN: Final = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportRow:
    """Hold one report.

    Attributes:
        id: what its row is called.
        text: all its text columns, joined.
        also: what its row holds in the table's `also`; "" where there is nothing.
        fault: why it cannot be read; "" where it can.
        position: how much of the file lies before the row's end, 0 to 1.
    """

    id: str
    text: str
    also: tuple[str, ...] = ()
    fault: str = ""
    position: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    """Locate reports and name their columns; `also` names columns to pass on, such as labels.

    Raises:
        InputError: no such file, not a table's suffix, no text column, or an encoding that Python does not know.
    """

    path: Path
    id_column: str = ID_COLUMN
    text_columns: Sequence[str] = (TEXT_COLUMN,)
    also: Sequence[str] = ()
    encoding: str = UTF_8

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise InputError("no such file", hint="Check the path.", source=self.path)
        if self.path.suffix.lower() not in TABLE_SUFFIXES:
            raise InputError("is not a table's name", hint=f"Give one of {', '.join(TABLE_SUFFIXES)}.", source=self.path)
        if not self.text_columns:
            raise InputError("no text column is named", hint="Give --text-column.")
        _ = self._table

    @property
    def _table(self) -> TextTable:
        return TextTable(path=self.path, encoding=self.encoding)

    def rows(self) -> Iterator[ReportRow]:
        """Yield each row in order; one that has a fault too.

        Raises:
            MetadataError: not such a file, a column that is not there, or another encoding.
        """
        table = self._table
        columns = {column_key(name): name for name in reversed(table.columns)} | {name: name for name in table.columns}
        if table.columns and (error := self.missing(table.columns)):
            raise error
        names, texts, others = (
            [columns.get(name) or columns.get(column_key(name), name) for name in requested]
            for requested in ((self.id_column,), self.text_columns, self.also)
        )
        for row in table.rows(columns=[*names, *texts, *others], with_faults=True):
            text = " ".join(cell.strip() for name in texts if (cell := row.cells.get(name, "")).strip())
            also = tuple(row.cells.get(name, "").strip() for name in others)
            id_ = row.cells.get(names[0], "")
            yield ReportRow(id=id_, text="" if row.fault else text, also=also, fault=row.fault, position=row.position)

    def fingerprint(self) -> dict[str, Any]:
        """Return the table's fingerprint as JSON values, without a path."""
        return {
            "sha256": sha256(self.path),
            "id_column": self.id_column,
            "text_columns": list(self.text_columns),
            "encoding": self.encoding,
        }

    def missing(self, columns: Sequence[str]) -> MetadataError | None:
        """Return the error for columns that a table lacks; None where it has all."""
        present = {column_key(name) for name in columns}
        absent = [name for name in (self.id_column, *self.text_columns, *self.also) if column_key(name) not in present]
        if not absent:
            return None
        there = ", ".join(columns[:_SHOWN]) + (", …" if len(columns) > _SHOWN else "")
        hint = "Give --id-column and --text-column as the table has them."
        return MetadataError(f"has no column {', '.join(absent)}; it has {there or 'none'}", hint=hint, source=self.path)

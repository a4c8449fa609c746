"""Tables of reports, row by row: CSV, Excel and JSON lines, larger than memory or not.

A table that cannot be read is an error. A row that cannot be is a row with a fault: it becomes an unknown, and the others go on.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from thoracle.errors import InputError, MetadataError
from thoracle.files.atomic import sha256

#: The names of columns in the data the published labeller was trained on.
TEXT_COLUMN: Final = "report_text"
ID_COLUMN: Final = "AccessionNo"
ENCODING: Final = "utf-8"

_LARGEST_CELL: Final = 1 << 20
#: Excel's strings are in memory at once; a workbook of a million reports has less.
_LARGEST_SHEET: Final = 4 << 30
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
    encoding: str = ENCODING

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise InputError("no such file", hint="Check the path.", source=self.path)
        if self.path.suffix.lower() not in _READERS:
            raise InputError("is not a table's name", hint=f"Give one of {', '.join(_READERS)}.", source=self.path)
        if not self.text_columns:
            raise InputError("no text column is named", hint="Give --text-column.")
        try:
            "".encode(self.encoding)
        except LookupError as error:
            raise InputError(f"no encoding {self.encoding!r}", hint="Give for example utf-8 or cp1252.") from error

    def rows(self) -> Iterator[ReportRow]:
        """Yield each row in order.

        Raises:
            MetadataError: not such a file, a column that is not there, or another encoding.
        """
        return _READERS[self.path.suffix.lower()](self)

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
        absent = [name for name in (self.id_column, *self.text_columns, *self.also) if name not in columns]
        if not absent:
            return None
        there = ", ".join(columns[:_SHOWN]) + (", …" if len(columns) > _SHOWN else "")
        hint = "Give --id-column and --text-column as the table has them."
        return MetadataError(f"has no column {', '.join(absent)}; it has {there or 'none'}", hint=hint, source=self.path)

    def row(self, cells: Mapping[str, Any], *, position: float) -> ReportRow:
        """Build a row from its cells by column."""
        texts = (cells.get(name) for name in self.text_columns)
        text = " ".join(str(cell).strip() for cell in texts if cell is not None and str(cell).strip())
        also = tuple(_plain(cells.get(name)).strip() for name in self.also)
        return ReportRow(id=_plain(cells.get(self.id_column)), text=text, also=also, position=position)


def _csv(table: ReportTable) -> Iterator[ReportRow]:
    csv.field_size_limit(_LARGEST_CELL)
    with _opened(table) as (file, position):
        lines = csv.reader(file)
        try:
            columns = [column.strip() for column in next(lines, ())]
            if error := table.missing(columns):
                raise error
            for cells in filter(None, lines):
                row = table.row(dict(zip(columns, cells, strict=False)), position=position())
                if len(cells) != len(columns):
                    fault = f"line {lines.line_num} has {len(cells)} fields, the first line has {len(columns)}"
                    row = ReportRow(id=row.id, text="", also=row.also, fault=fault, position=row.position)
                yield row
        except csv.Error as error:
            raise MetadataError(f"line {lines.line_num} is not CSV ({error})", hint="Save it again.", source=table.path) from error


def _json_lines(table: ReportTable) -> Iterator[ReportRow]:
    checked = False
    with _opened(table) as (file, position):
        for number, line in enumerate(iter(lambda: file.readline(_LARGEST_CELL), ""), start=1):
            if not line.strip():
                continue
            try:
                cells = json.loads(line)
            except (ValueError, RecursionError):
                cells = None
            if not isinstance(cells, dict):
                yield ReportRow(id="", text="", fault=f"line {number} is not a JSON object", position=position())
                continue
            if not checked and (error := table.missing(list(cells))):
                raise error
            checked = True
            yield table.row(cells, position=position())


def _excel(table: ReportTable) -> Iterator[ReportRow]:
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        with zipfile.ZipFile(table.path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST_SHEET:
                raise MetadataError(f"unpacks to more than {_LARGEST_SHEET:,} bytes", hint="Save it as CSV.", source=table.path)
        book = openpyxl.load_workbook(table.path, read_only=True, data_only=True)
    except (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError, SyntaxError) as error:
        raise MetadataError("is not an Excel workbook", hint="Save it again, as .xlsx or CSV.", source=table.path) from error
    with closing(book):
        sheet = book.worksheets[0]
        lines = sheet.iter_rows(values_only=True)
        columns = [_plain(name).strip() for name in next(lines, ())]
        if error_of := table.missing(columns):
            raise error_of
        last = max(sheet.max_row or 1, 2)
        for number, cells in enumerate(lines, start=2):
            if any(cell is not None for cell in cells):
                yield table.row(dict(zip(columns, cells, strict=False)), position=min(1.0, number / last))


_READERS: Final = {".csv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines, ".xlsx": _excel}


@contextmanager
def _opened(table: ReportTable) -> Iterator[tuple[TextIO, Callable[[], float]]]:
    """The file as text, and how much of it is read; bytes of another encoding stay as lone surrogates."""
    size = table.path.stat().st_size
    with table.path.open("rb", buffering=0) as raw:
        head = raw.read(4)
        if not head:
            raise MetadataError("is empty", hint="Check that it was copied whole.", source=table.path)
        if head[:2] in (b"\xff\xfe", b"\xfe\xff") and not table.encoding.lower().startswith(("utf-16", "utf-32")):
            hint = "Give --encoding utf-16, or save it as UTF-8."
            raise MetadataError(f"is UTF-16, not {table.encoding}", hint=hint, source=table.path)
        raw.seek(0)
        text = io.TextIOWrapper(io.BufferedReader(raw), encoding=_with_mark(table), errors="surrogateescape", newline="")
        yield text, lambda: raw.tell() / size
        text.detach()


def _with_mark(table: ReportTable) -> str:
    """UTF-8 with or without the mark that Excel writes before it."""
    return "utf-8-sig" if table.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else table.encoding


def _plain(value: Any) -> str:
    """An identifier as people write it: Excel keeps 17 as 17.0."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

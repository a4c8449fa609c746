"""Read tables as people hand them over: CSV with comma, semicolon or tab, Excel and JSON lines, row by row, as text.

A table's encoding is UTF-8, or the one that is named; other bytes are refused with their line. Words that other programs write for
nothing are empty cells. A table of semicolons has decimal commas, which become points.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, TextIO

from thoracle.errors import InputError, MetadataError
from thoracle.files.excel import excel_lines, plain_text
from thoracle.files.text_encoding import likely_encoding

UTF_8: Final = "utf-8"
#: Names of tables.
TABLE_SUFFIXES: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".xlsx")

_LARGEST_CELL: Final = 1 << 20
_HEAD: Final = 1 << 16
_SAMPLE: Final = 1 << 20
#: What pandas, R, Excel, databases and people write for nothing.
_NOTHING: Final = frozenset({"nan", "none", "null", "n/a", "n.a.", "na", "#n/a", "<na>", "nat"})
#: Dashes and dots: a cell of nothing else is empty.
_STROKES: Final = " \t-.\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
_DELIMITERS: Final = (",", ";", "\t")
_DECIMAL_COMMA: Final = re.compile(r"\s*([-+]?\d+),(\d+)\s*")
#: Excel's own first line of a CSV file.
_SEPARATOR_LINE: Final = re.compile(r'"?sep=(.)"?\s*')
_MARKS: Final = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
#: Line, cells or the fault, position; the first cells are names of columns.
_Lines = Generator[tuple[int, list[str] | str, float], None, None]
#: What Python makes of a byte that it cannot decode.
_ESCAPED: Final = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class TableRow:
    """Hold one row.

    Attributes:
        line: of the file, or of the sheet, from 1.
        cells: by column; "" where there is nothing.
        fault: why it is no row of this table; "" where it is one.
        position: how much of the file lies before the row's end, 0 to 1.
    """

    line: int
    cells: Mapping[str, str]
    fault: str = ""
    position: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """Locate a table; its name tells its kind, and CSV is what has another name.

    Attributes:
        path: of the file.
        encoding: of CSV and JSON lines. A file with UTF-8's mark is in UTF-8 whatever this says.
        largest: bytes that the file may have.
    """

    path: Path
    encoding: str = UTF_8
    largest: int | None = None

    def __post_init__(self) -> None:
        """Refuse an encoding that Python does not know.

        Raises:
            InputError: it is none.
        """
        try:
            "".encode(self.encoding)
        except LookupError as error:
            raise InputError(f"no encoding {self.encoding!r}", hint="Give for example utf-8 or cp1252.") from error

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Read the names of columns, () of an empty file. Names in another encoding are guessed; `rows` refuses them.

        Raises:
            MetadataError: not a table, or too large.
        """
        self._require_small()
        with closing(self._lines(self._likely_wide() or self.encoding)) as lines:
            return next((_names(cells) for _, cells, _ in lines if isinstance(cells, list)), ())

    def rows(self, *, columns: Collection[str] | None = None, with_faults: bool = False) -> Iterator[TableRow]:
        """Yield each row in order, blank ones left out.

        Args:
            columns: those that are needed; the encoding of others is of no matter. By default all.
            with_faults: yield rows that are none of this table with their fault; by default they are refused.

        Raises:
            MetadataError: not a table, too large, empty, another encoding, or a row with a fault.
        """
        self._require_small()
        if wide := self._likely_wide():
            hint = f"Give --encoding {wide}, or save it as UTF-8."
            raise MetadataError(f"is {wide.upper()[:6]}, not {self.encoding}, from line 1 on", hint=hint, source=self.path)
        names: tuple[str, ...] | None = None
        if not self._head.strip():
            raise MetadataError("is empty", hint="Check that it was copied whole.", source=self.path)
        for line, cells, position in self._lines(self.encoding):
            if isinstance(cells, str):
                row = TableRow(line=line, cells={}, fault=cells, position=position)
            elif names is None:
                names = _names(cells)
                self._require_encoded(line, [name for name in names if columns is None or name in columns])
                continue
            else:
                row = _row(line, cells, names, position, has_decimal_comma=self._delimiter == ";")
                self._require_encoded(line, [cell for name, cell in row.cells.items() if columns is None or name in columns])
            if row.fault and not with_faults:
                raise MetadataError(row.fault, hint="Save the table again, or download it again.", source=self.path)
            yield row

    @property
    def _is_text(self) -> bool:
        return self.path.suffix.lower() not in (".xlsx", ".jsonl", ".ndjson")

    def _lines(self, encoding: str) -> _Lines:
        suffix = self.path.suffix.lower()
        if suffix == ".xlsx":
            return excel_lines(self.path)
        return self._json_lines(encoding) if suffix in (".jsonl", ".ndjson") else self._csv(encoding)

    def _csv(self, encoding: str) -> _Lines:
        csv.field_size_limit(_LARGEST_CELL)
        width, start, quotes = 0, 1, 0
        pending: tuple[int, list[str], float] | None = None

        def counted(file: TextIO) -> Iterator[str]:
            nonlocal quotes
            for text in file:
                quotes += text.count('"')
                yield text

        with self._opened(encoding) as (file, raw, size):
            lines = csv.reader(counted(file), delimiter=self._delimiter)
            try:
                for cells in lines:
                    if pending:
                        yield pending
                    width = width or len(cells)
                    is_open = quotes % 2 == 1 and (len(cells) < width or lines.line_num > start)
                    quotes = 0
                    is_empty = not any(cell.strip() for cell in cells) or (start == 1 and _SEPARATOR_LINE.fullmatch(self._first_line))
                    pending = None if is_empty else (start, cells, raw.tell() / size)
                    first, start = start, lines.line_num + 1
                if pending and is_open:  # only the last row of a file can be without the end of a quoted cell
                    start = first
                    raise csv.Error("a quoted cell has no end")
                if pending:
                    yield pending
            except csv.Error as error:
                raise MetadataError(f"line {start} is not CSV ({error})", hint="Save it again.", source=self.path) from error

    def _json_lines(self, encoding: str) -> _Lines:
        names: list[str] | None = None
        with self._opened(encoding) as (file, raw, size):
            for line, text in enumerate(iter(lambda: file.readline(_LARGEST_CELL), ""), start=1):
                if not text.strip():
                    continue
                try:
                    values = json.loads(text)
                except (ValueError, RecursionError):
                    values = None
                if not isinstance(values, dict):
                    yield line, f"line {line} is not a JSON object", raw.tell() / size
                    continue
                if names is None:
                    names = list(values)
                    yield line, names, 0.0
                yield line, [plain_text(values.get(name)) for name in names], raw.tell() / size

    @cached_property
    def _head(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(_HEAD)

    def _likely_wide(self) -> str:
        """UTF-16 or UTF-32, by a mark or by zeros beside letters, where another encoding is named; else ""."""
        if not self._is_wide_possible():
            return ""
        marked = next((name for mark, name in _MARKS if self._head.startswith(mark)), "")
        odd, even = self._head[1:64:2], self._head[0:64:2]
        if marked or len(self._head) < 4:
            return marked
        return "utf-16-le" if odd.count(0) > len(odd) // 2 else "utf-16-be" if even.count(0) > len(even) // 2 else ""

    def _is_wide_possible(self) -> bool:
        named = self.encoding.lower().replace("_", "-")
        return self.path.suffix.lower() != ".xlsx" and not named.startswith(("utf-16", "utf-32", "u16", "u32", "utf16", "utf32"))

    def _codec(self, encoding: str) -> str:
        """UTF-8 with or without the mark that Excel writes before it, or what is named."""
        is_utf8 = encoding.lower().replace("_", "-") in ("utf-8", "utf8") or self._head.startswith(b"\xef\xbb\xbf")
        return "utf-8-sig" if is_utf8 else encoding

    @cached_property
    def _first_line(self) -> str:
        """The first record: up to the first line end outside of quotes."""
        text = self._head.decode(self._codec(self._likely_wide() or self.encoding), "ignore")
        is_quoted = False
        for index, letter in enumerate(text):
            is_quoted ^= letter == '"'
            if letter in "\r\n" and not is_quoted and text[:index].strip("\r\n,;\t "):
                return text[:index].lstrip("\r\n")
        return text

    @cached_property
    def _delimiter(self) -> str:
        """The delimiter that the first record has most of, outside of quotes."""
        if not self._is_text:
            return ","
        if named := _SEPARATOR_LINE.fullmatch(self._first_line):
            return named[1]
        counts = Counter(re.sub(r'"[^"]*"', "", self._first_line))
        return max(_DELIMITERS, key=lambda delimiter: counts[delimiter])

    @contextmanager
    def _opened(self, encoding: str) -> Iterator[tuple[TextIO, io.FileIO, int]]:
        """The file as text, its bytes and their number; bytes of another encoding stay as lone surrogates."""
        with self.path.open("rb", buffering=0) as raw:
            text = io.TextIOWrapper(io.BufferedReader(raw), encoding=self._codec(encoding), errors="surrogateescape", newline="")
            try:
                yield text, raw, max(1, self.path.stat().st_size)
            except UnicodeError as error:
                hint = "Give --encoding with the name of its own, or save it as UTF-8."
                raise MetadataError(f"is not {encoding}", hint=hint, source=self.path) from error
            finally:
                text.detach()

    def _require_small(self) -> None:
        if self.largest is not None and self.path.stat().st_size > self.largest:
            raise MetadataError(f"is larger than {self.largest:,} bytes", hint="Split it.", source=self.path)

    def _require_encoded(self, line: int, cells: Sequence[str]) -> None:
        text = "".join(cells)
        if text.isascii() or not _ESCAPED.search(text):
            return
        with self.path.open("rb") as file:
            guess = likely_encoding(file.read(_SAMPLE)) or likely_encoding(text.encode("utf-8", "surrogateescape"))
        hint = f"It seems to be {guess}: give --encoding {guess}, or save it as UTF-8."
        if not guess or guess == self.encoding.lower():
            hint = "Save it as UTF-8, or give --encoding with the name of its own."
        raise MetadataError(f"line {line} is not {self.encoding}", hint=hint, source=self.path)


def _names(cells: Sequence[str]) -> tuple[str, ...]:
    """Stripped, without the empty ones that Excel leaves at the end."""
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    return tuple(names)


def _row(line: int, cells: Sequence[str], names: tuple[str, ...], position: float, *, has_decimal_comma: bool) -> TableRow:
    surplus = [cell for cell in cells[len(names) :] if cell.strip()]
    fault = ""
    if len(cells) < len(names) or surplus:
        fault = f"line {line} has {len(cells)} fields, the first line has {len(names)}"
    values: dict[str, str] = {}
    for name, cell in zip(names, cells, strict=False):
        value = _known(cell)
        if has_decimal_comma and (number := _DECIMAL_COMMA.fullmatch(value)):
            value = f"{number[1]}.{number[2]}"
        if name and values.setdefault(name, value) != value:
            fault = fault or f"line {line} holds two values under two columns {name}"
    return TableRow(line=line, cells=values, fault=fault, position=position)


def _known(cell: str) -> str:
    return "" if cell.strip().casefold() in _NOTHING or not cell.strip(_STROKES) else cell

"""Tables of reports, labels and metadata: found by their columns, and what their rows say."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thoracle.cohort.reports import Report
from thoracle.cohort.sources import COHORT_SETTINGS, Labels, VolumeSource, unlisted_folder
from thoracle.cohort.technique import StatedContrast, stated_contrast, technique_section
from thoracle.errors import MetadataError
from thoracle.files.listed_names import column_key
from thoracle.files.table import TABLE_SUFFIXES, UTF_8, TableRow, TextTable
from thoracle.types import ABNORMALITIES

Row = Mapping[str, str]

VOLUME_NAME: Final = "VolumeName"
#: What cells of labels say: absent, present, unknown.
LABEL_VALUES: Final[Mapping[str, int | None]] = {
    **dict.fromkeys(("0", "0.0", "0,0", "false"), 0),
    **dict.fromkeys(("1", "1.0", "1,0", "true"), 1),
    **dict.fromkeys(("", "-1", "-1.0", "-1,0"), None),
}
_LARGEST_BYTES: Final = 1 << 30  # five times all the reports of CT-RATE
_DEPTH: Final = 3  # SRC/dataset/metadata/train_metadata.csv
_FINDINGS: Final = ("Findings_EN", "findings", "Report_en", "report", "report_text")
_IMPRESSION: Final = ("Impressions_EN", "impression")
_TECHNIQUE: Final = "Technique_EN"
_LABEL_KEYS: Final = tuple(map(column_key, ABNORMALITIES))


@dataclass(frozen=True, kw_only=True)
class TableListing:
    """List tables in order of name, and as refused sources the folders that cannot be listed, in which others may lie."""

    tables: tuple[TextTable, ...]
    unlisted: tuple[VolumeSource, ...]


def find_tables(folder: Path, *, beside: Collection[str] = (), encoding: str = UTF_8) -> TableListing:
    """List every table in a folder and three levels below it; `beside` names folders to skip.

    Raises:
        MetadataError: a file named as a table that is none.
    """
    tables: list[TextTable] = []
    faults: list[OSError] = []
    for directory, below, names in os.walk(folder, onerror=faults.append):
        depth = len(Path(directory).relative_to(folder).parts)
        below[:] = sorted(name for name in below if depth < _DEPTH and name not in beside and not name.startswith("."))
        if COHORT_SETTINGS in names and depth:
            below.clear()
            continue
        for name in sorted(names):
            if name.lower().endswith(TABLE_SUFFIXES) and not name.startswith((".", "~$")):  # Excel's mark of an open workbook
                table = TextTable(path=Path(directory, name), encoding=encoding, largest=_LARGEST_BYTES)
                _ = table.columns
                tables.append(table)
    unlisted = [
        unlisted_folder(Path(fault.filename), f"cannot be listed ({fault.strerror}): tables may lie in it", root=folder)
        for fault in sorted(faults, key=lambda fault: str(fault.filename))
    ]
    return TableListing(tables=tuple(tables), unlisted=tuple(unlisted))


def unique_rows(
    tables: Iterable[TextTable], *, key_of: Callable[[TextTable, Row], str], facts_of: Callable[[Row], Any], what: str
) -> dict[str, tuple[TableRow, Path]]:
    """Read rows by key; several that say the same are one.

    Args:
        tables: to read.
        key_of: names what a row is of; "" for nothing.
        facts_of: returns what is read from a row.
        what: the rows hold, for the error.

    Raises:
        MetadataError: a table that cannot be used, or rows of one key that differ.
    """
    rows: dict[str, tuple[TableRow, Path]] = {}
    for table in tables:
        for row in table.rows():
            key = key_of(table, row.cells)
            if not key:
                continue
            before, path = rows.setdefault(key, (row, table.path))
            if before is not row and facts_of(before.cells) != facts_of(row.cells):
                is_same = path == table.path
                detail = f"line {row.line}: its row of {what} is unlike that in line {before.line}{'' if is_same else f' of {path.name}'}"
                hint = "Correct or remove one of the two lines." if is_same else "Correct a line, or take one of the two tables away."
                raise MetadataError(detail, hint=hint, source=table.path)
    return rows


def require_match(matched: int, rows: Mapping[str, tuple[TableRow, Path]], *, what: str, expected: str) -> None:
    """Refuse tables none of whose rows belongs to anything in the folder.

    Args:
        matched: how many rows do.
        rows: of the tables.
        what: the rows hold.
        expected: tells by what they are looked up, with an example of each side where names are public.

    Raises:
        MetadataError: rows, and no match.
    """
    if rows and not matched:
        row, path = next(iter(rows.values()))
        detail = f"none of {len(rows):,} rows of {what} belongs to anything in the folder, from line {row.line} on; {expected}"
        raise MetadataError(detail, hint="Correct the names, or take the table away.", source=path)


def report_of(row: Row) -> Report:
    """Read the report sections of a row, under CT-RATE's, BIMCV-R's or plain column names."""
    return Report(findings=_first(row, _FINDINGS), impression=_first(row, _IMPRESSION))


def contrast_of(row: Row) -> StatedContrast | None:
    """Read what the technique of a row's report says of contrast agent: CT-RATE's column, or that section of the text."""
    return stated_contrast(row.get(_TECHNIQUE) or technique_section(_first(row, _FINDINGS)))


def has_report(table: TextTable) -> bool:
    """Tell whether a table has a column of report text."""
    return any(column in table.columns for column in _FINDINGS + _IMPRESSION)


def has_labels(table: TextTable) -> bool:
    """Tell whether a table has a column of one of `ABNORMALITIES`."""
    return not {column_key(column) for column in table.columns}.isdisjoint(_LABEL_KEYS)


def label_cells(row: Row) -> tuple[str, ...]:
    """Return the cells of columns named as `ABNORMALITIES` but for case and blanks, in their order; "" where a column is absent."""
    cells = {column_key(column): cell.strip().lower() for column, cell in row.items()}
    return tuple(cells.get(key, "") for key in _LABEL_KEYS)


def labels_of(row: Row, *, source: Path) -> Labels:
    """Read the columns of `ABNORMALITIES`; None where a column or its value is absent, or unknown.

    Raises:
        MetadataError: something else than 0, 1, True, False and -1.
    """
    cells = label_cells(row)
    for name, cell in zip(ABNORMALITIES, cells, strict=True):
        if cell not in LABEL_VALUES:
            hint = "Correct the row; -1 or nothing is unknown."
            raise MetadataError(f"{name} must be 0 or 1, is {cell!r:.40}", hint=hint, source=source)
    return tuple(LABEL_VALUES[cell] for cell in cells)


def empty_reports(reports: Iterable[Report]) -> str:
    """Return the note that counts reports without a word; "" where there is none."""
    count = sum(not (report.findings.strip() or report.impression.strip()) for report in reports)
    return f"{count:,} rows of reports are empty: nan, None, NULL, N/A, - and the like are nothing." if count else ""


def parse_positive_number(text: str) -> float | None:
    """Parse a positive number; return None where there is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def _first(row: Row, columns: tuple[str, ...]) -> str:
    return next((row[column] for column in columns if row.get(column)), "")

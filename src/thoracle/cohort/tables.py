"""CSV tables of reports, labels and metadata: found by their columns, read within a budget."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from thoracle.cohort.reports import Report
from thoracle.cohort.sources import COHORT_SETTINGS, Labels
from thoracle.errors import MetadataError
from thoracle.types import ABNORMALITIES

Row = Mapping[str, str]

VOLUME_NAME: Final = "VolumeName"
_LARGEST_BYTES: Final = 1 << 30  # five times all the reports of CT-RATE
_LARGEST_CELL: Final = 1 << 20
_DEPTH: Final = 3  # SRC/dataset/metadata/train_metadata.csv
_FINDINGS: Final = ("Findings_EN", "findings", "Report_en", "report", "report_text")
_IMPRESSION: Final = ("Impressions_EN", "impression")
_LABELS: Final = {"0": 0, "0.0": 0, "1": 1, "1.0": 1}


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """Read one CSV file."""

    path: Path
    columns: tuple[str, ...]

    def rows(self) -> Iterator[Row]:
        """Yield each row by column.

        Raises:
            MetadataError: not CSV, or too large.
        """
        if self.path.stat().st_size > _LARGEST_BYTES:
            raise MetadataError(f"is larger than {_LARGEST_BYTES:,} bytes", hint="Split it.", source=self.path)
        csv.field_size_limit(_LARGEST_CELL)
        with self.path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            lines = csv.reader(file)
            try:
                next(lines, None)
                for cells in filter(None, lines):
                    if len(cells) != len(self.columns):
                        detail = f"line {lines.line_num} has {len(cells)} fields, the first line has {len(self.columns)}"
                        raise MetadataError(detail, hint="Download or save the table again.", source=self.path)
                    yield dict(zip(self.columns, cells, strict=True))
            except csv.Error as error:
                raise MetadataError(f"line {lines.line_num} is not CSV ({error})", hint="Save it again.", source=self.path) from error


def find_tables(folder: Path, *, beside: Collection[str] = ()) -> list[TextTable]:
    """List every CSV file in a folder and three levels below it, in order of name; cohorts are skipped, and folders that `beside` names."""
    tables = []
    for directory, below, names in os.walk(folder):
        depth = len(Path(directory).relative_to(folder).parts)
        below[:] = sorted(name for name in below if depth < _DEPTH and name not in beside and not name.startswith("."))
        if COHORT_SETTINGS in names and depth:
            below.clear()
            continue
        for name in sorted(names):
            if name.lower().endswith(".csv") and not name.startswith("."):
                tables.append(_open(Path(directory, name)))
    return tables


def report_of(row: Row) -> Report:
    """Read the report sections of a row, under CT-RATE's, BIMCV-R's or plain column names."""
    return Report(findings=_first(row, _FINDINGS), impression=_first(row, _IMPRESSION))


def has_report(table: TextTable) -> bool:
    """Tell whether a table has a column of report text."""
    return any(column in table.columns for column in _FINDINGS + _IMPRESSION)


def labels_of(row: Row, *, source: Path) -> Labels:
    """Read the columns named as `ABNORMALITIES`; None where a column or its value is absent.

    Raises:
        MetadataError: something else than 0 and 1.
    """
    labels: list[int | None] = []
    for name in ABNORMALITIES:
        cell = row.get(name, "").strip()
        if cell and cell not in _LABELS:
            raise MetadataError(f"{name} must be 0 or 1, is {cell!r:.40}", hint="Correct the row.", source=source)
        labels.append(_LABELS[cell] if cell else None)
    return tuple(labels)


def parse_positive_number(text: str) -> float | None:
    """Parse a positive number; return None where there is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def _first(row: Row, columns: tuple[str, ...]) -> str:
    return next((row[column] for column in columns if row.get(column)), "")


def _open(path: Path) -> TextTable:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        try:
            return TextTable(path=path, columns=tuple(column.strip() for column in next(csv.reader(file), ())))
        except csv.Error as error:
            raise MetadataError(f"is not CSV ({error})", hint="Save it again.", source=path) from error

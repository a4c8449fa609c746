"""The tables of an index, and records and filters as SQL has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any, Final

from thoracle.cohort.demographics import Demographics
from thoracle.cohort.reports import Report
from thoracle.search.keywords import TOKENIZER
from thoracle.search.record import Filters, Record
from thoracle.types import ABNORMALITIES

COLUMNS: Final = (
    *("volume", "scan", "accession", "patient", "split", "findings", "impression", "labels"),
    *("age", "sex", "date", "scanner", "source_sha256", "voxels_sha256"),
)
SCHEMA: Final = (
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE record(
      id INTEGER PRIMARY KEY AUTOINCREMENT, volume TEXT NOT NULL UNIQUE, scan TEXT NOT NULL, accession TEXT NOT NULL, patient TEXT NOT NULL,
      split TEXT NOT NULL, findings TEXT NOT NULL, impression TEXT NOT NULL, labels TEXT NOT NULL, age INTEGER, sex TEXT NOT NULL,
      date TEXT NOT NULL, scanner TEXT NOT NULL, source_sha256 TEXT NOT NULL, voxels_sha256 TEXT NOT NULL)""",
    *(f"CREATE INDEX record_{column} ON record({column})" for column in ("scan", "accession", "patient", "source_sha256")),
    "CREATE TABLE vector(id INTEGER PRIMARY KEY, latent BLOB NOT NULL)",
    "CREATE TABLE thumbnail(id INTEGER PRIMARY KEY, png BLOB NOT NULL)",
    f"CREATE VIRTUAL TABLE words USING fts5(findings, impression, content='record', content_rowid='id', tokenize='{TOKENIZER}')",
    """CREATE TRIGGER record_added AFTER INSERT ON record BEGIN
      INSERT INTO words(rowid, findings, impression) VALUES (new.id, new.findings, new.impression);
    END""",
    """CREATE TRIGGER record_deleted AFTER DELETE ON record BEGIN
      INSERT INTO words(words, rowid, findings, impression) VALUES ('delete', old.id, old.findings, old.impression);
      DELETE FROM vector WHERE id = old.id;
      DELETE FROM thumbnail WHERE id = old.id;
    END""",
)
_LABEL: Final = {None: "-", 0: "0", 1: "1"}


def to_row(record: Record) -> tuple[Any, ...]:
    """Return the values of `COLUMNS`."""
    names = (record.volume, record.scan, record.accession, record.patient, record.split, record.report.findings, record.report.impression)
    labels = "".join(_LABEL[label] for label in record.labels)
    return (*names, labels, *astuple(record.facts), record.source_sha256, record.voxels_sha256)


def to_record(row: Sequence[Any]) -> Record:
    """Build a record from the values of `COLUMNS`."""
    volume, scan, accession, patient, split, findings, impression, labels, age, sex, date, scanner, source, voxels = row
    return Record(
        volume=volume,
        scan=scan,
        accession=accession,
        patient=patient,
        split=split,
        report=Report(findings=findings, impression=impression),
        labels=tuple(None if label == "-" else int(label) for label in labels),
        facts=Demographics(age=age, sex=sex, date=date, scanner=scanner),
        source_sha256=source,
        voxels_sha256=voxels,
    )


def where(filters: Filters) -> tuple[str, list[Any]]:
    """Write filters as SQL. Dates are compared as far as both are stated."""
    parts: list[str] = ["1"]
    values: list[Any] = []
    for names, label in ((filters.present, "1"), (filters.absent, "0")):
        for name in names:
            parts.append(f"substr(labels, {ABNORMALITIES.index(name) + 1}, 1) = '{label}'")
    for condition, value in (
        ("age >= ?", filters.age_from),
        ("age <= ?", filters.age_to),
        ("sex = ?", filters.sex),
        ("date <> '' AND date >= substr(?, 1, length(date))", filters.date_from),
        (f"date <> '' AND substr(date, 1, {len(filters.date_to)}) <= ?", filters.date_to),
        ("instr(lower(scanner), lower(?)) > 0", filters.scanner),
        ("split = ?", filters.split),
    ):
        if value not in (None, ""):
            parts.append(condition)
            values.append(value)
    return " AND ".join(parts), values

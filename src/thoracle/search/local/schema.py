"""The tables of an index, and records, filters and keyword queries as SQL has them.

Report text lies in a table of its own, so that what filters read is short and together. Words are looked up by their stems in `words`, and
beginnings in `beginnings`, which has words as they are written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any, Final

from thoracle.cohort.demographics import Demographics
from thoracle.cohort.reports import Report
from thoracle.search.keywords import STEMMED, UNSTEMMED, AllOf, AnyOf, Keywords, all_terms, to_fts5
from thoracle.search.record import Filters, Record
from thoracle.types import ABNORMALITIES

COLUMNS: Final = (
    *("volume", "scan", "accession", "patient", "split", "labels"),
    *("age", "sex", "date", "scanner", "source_sha256", "voxels_sha256", "report_sha256", "scores"),
)
REPORT_COLUMNS: Final = ("findings", "impression")
#: The full texts: by stems, and by words as they are written.
TEXT_TABLES: Final = {"words": STEMMED, "beginnings": UNSTEMMED}
SCHEMA: Final = (
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE record(
      id INTEGER PRIMARY KEY AUTOINCREMENT, volume TEXT NOT NULL UNIQUE, scan TEXT NOT NULL, accession TEXT NOT NULL, patient TEXT NOT NULL,
      split TEXT NOT NULL, labels TEXT NOT NULL, age INTEGER, sex TEXT NOT NULL, date TEXT NOT NULL, scanner TEXT NOT NULL,
      source_sha256 TEXT NOT NULL, voxels_sha256 TEXT NOT NULL, report_sha256 TEXT NOT NULL,
      scores TEXT NOT NULL)""",
    *(f"CREATE INDEX record_{column} ON record({column})" for column in ("scan", "accession", "patient", "source_sha256", "report_sha256")),
    "CREATE TABLE report(id INTEGER PRIMARY KEY, findings TEXT NOT NULL, impression TEXT NOT NULL)",
    "CREATE TABLE vector(id INTEGER PRIMARY KEY, latent BLOB NOT NULL)",
    "CREATE TABLE thumbnail(id INTEGER PRIMARY KEY, png BLOB NOT NULL)",
    *(
        f"CREATE VIRTUAL TABLE {table} USING fts5(findings, impression, content='report', content_rowid='id', tokenize='{tokenizer}')"
        for table, tokenizer in TEXT_TABLES.items()
    ),
    """CREATE TRIGGER report_added AFTER INSERT ON report BEGIN
      INSERT INTO words(rowid, findings, impression) VALUES (new.id, new.findings, new.impression);
      INSERT INTO beginnings(rowid, findings, impression) VALUES (new.id, new.findings, new.impression);
    END""",
    """CREATE TRIGGER report_deleted AFTER DELETE ON report BEGIN
      INSERT INTO words(words, rowid, findings, impression) VALUES ('delete', old.id, old.findings, old.impression);
      INSERT INTO beginnings(beginnings, rowid, findings, impression) VALUES ('delete', old.id, old.findings, old.impression);
    END""",
    """CREATE TRIGGER record_deleted AFTER DELETE ON record BEGIN
      DELETE FROM report WHERE id = old.id;
      DELETE FROM vector WHERE id = old.id;
      DELETE FROM thumbnail WHERE id = old.id;
    END""",
)
_LABEL: Final = {None: "-", 0: "0", 1: "1"}


def to_row(record: Record) -> tuple[Any, ...]:
    """Return the values of `COLUMNS`; those of `REPORT_COLUMNS` are the report's."""
    names = (record.volume, record.scan, record.accession, record.patient, record.split)
    labels = "".join(_LABEL[label] for label in record.labels)
    hashes = (record.source_sha256, record.voxels_sha256, record.report_sha256)
    return (*names, labels, *astuple(record.facts), *hashes, json.dumps(dict(record.scores)))


def to_record(row: Sequence[Any]) -> Record:
    """Build a record from the values of `COLUMNS` and, unless its report was not read, `REPORT_COLUMNS`."""
    volume, scan, accession, patient, split, labels, age, sex, date, scanner, source, voxels, _, scores, *report = row
    return Record(
        volume=volume,
        scan=scan,
        accession=accession,
        patient=patient,
        split=split,
        report=Report(**dict(zip(REPORT_COLUMNS, report, strict=True))) if report else Report(),
        labels=tuple(None if label == "-" else int(label) for label in labels),
        facts=Demographics(age=age, sex=sex, date=date, scanner=scanner),
        source_sha256=source,
        voxels_sha256=voxels,
        scores=tuple(json.loads(scores).items()),
    )


def where(filters: Filters) -> tuple[str, list[Any]]:
    """Write filters as SQL. Dates are compared as far as both are stated."""
    parts: list[str] = ["1"]
    values: list[Any] = []
    for names, label in ((filters.present, "1"), (filters.absent, "0")):
        for name in names:
            parts.append(f"substr(labels, {ABNORMALITIES.index(name) + 1}, 1) = '{label}'")
    for name, least in filters.scored:
        parts.append("(SELECT value FROM json_each(scores) WHERE key = ?) >= ?")
        values += [name, least]
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


def ranked(query: Keywords, filters: Filters) -> tuple[str, list[Any]]:
    """Write a keyword query as SQL that gives id and BM25 of each report that matches and passes, best first.

    A filter's ids are asked for with `+rowid IN`: without the plus SQLite looks a report up anew for each record that passes.
    """
    condition, values = where(filters)
    passing = f"SELECT id FROM record WHERE {condition}"
    table = _table_of(query)
    if table:
        join = f" AND +rowid IN ({passing})" if filters else ""
        statement = f"SELECT rowid, -rank FROM {table} WHERE {table} MATCH ?{join} ORDER BY rank, rowid"
        return statement, [to_fts5(query), *(values if filters else ())]
    ids, id_values = matching_ids(query)
    terms = all_terms(query, excluded=False)
    parts = {"words": [term for term in terms if not term.prefix], "beginnings": [term for term in terms if term.prefix]}
    scores = [f"SELECT rowid AS id, -rank AS score FROM {table} WHERE {table} MATCH ?" for table, part in parts.items() if part]
    statement = (
        f"SELECT id, sum(score) AS total FROM ({' UNION ALL '.join(scores)}) "
        f"WHERE +id IN (SELECT id FROM ({ids}){f' INTERSECT {passing}' if filters else ''}) GROUP BY id ORDER BY total DESC, id"
    )
    return statement, [*(to_fts5(AnyOf(parts=tuple(part))) for part in parts.values() if part), *id_values, *(values if filters else ())]


def matching_ids(query: Keywords) -> tuple[str, list[Any]]:
    """Write a keyword query as SQL that gives the id of each report that matches."""
    if table := _table_of(query):
        return f"SELECT rowid AS id FROM {table} WHERE {table} MATCH ?", [to_fts5(query)]
    assert isinstance(query, AllOf | AnyOf), "a term is of one table"
    operator = " UNION " if isinstance(query, AnyOf) else " INTERSECT "
    selects, values = _each(query.parts)
    excluded, excluded_values = _each(query.without if isinstance(query, AllOf) else ())
    return " EXCEPT ".join([operator.join(selects), *excluded]), [*values, *excluded_values]


def _each(parts: Sequence[Keywords]) -> tuple[list[str], list[Any]]:
    """Each part's ids, to be combined."""
    statements = [matching_ids(part) for part in parts]
    return [f"SELECT id FROM ({sql})" for sql, _ in statements], [value for _, values in statements for value in values]


def _table_of(query: Keywords) -> str:
    """The full text that answers a query alone, "" where it takes both."""
    are_prefixes = {term.prefix for term in all_terms(query)}
    return "" if len(are_prefixes) > 1 else "beginnings" if True in are_prefixes else "words"

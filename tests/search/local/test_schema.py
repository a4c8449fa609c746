"""Records and filters as SQL has them: a record comes back as it was, and SQL keeps what the filter says."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from itertools import product
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from thoracle.cohort.demographics import Demographics
from thoracle.cohort.reports import Report
from thoracle.errors import InputError
from thoracle.search.keywords import STEMMED, UNSTEMMED, AllOf, AnyOf, Keywords, Term, stems
from thoracle.search.local.schema import COLUMNS, REPORT_COLUMNS, SCHEMA, matching_ids, ranked, to_record, to_row, where
from thoracle.search.record import Filters, Record
from thoracle.types import ABNORMALITIES

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_DATES = st.sampled_from(["", "2018", "2019", "2019-02", "2019-03", "2019-03-04", "2019-03-05", "2020-01-01"])
_FACTS = st.builds(
    Demographics,
    age=st.none() | st.integers(0, 120),
    sex=st.sampled_from(["", "F", "M", "O"]),
    date=_DATES,
    scanner=st.sampled_from(["", "GE", "Siemens Force", "ge revolution"]),
)
_LABELS = st.tuples(*[st.sampled_from([0, 1, None])] * 18)


def _record(**values: Any) -> Record:
    return Record(**{"volume": "v", "scan": "s", "accession": "a", "patient": "p"} | values)


def _stored(record: Record, connection: sqlite3.Connection) -> Record:
    marks = ", ".join("?" * len(COLUMNS))
    number = connection.execute(f"INSERT INTO record({', '.join(COLUMNS)}) VALUES ({marks})", to_row(record)).lastrowid
    connection.execute("INSERT INTO report VALUES (?, ?, ?)", [number, record.report.findings, record.report.impression])
    columns = ", ".join((*COLUMNS, *REPORT_COLUMNS))
    return to_record(connection.execute(f"SELECT {columns} FROM record JOIN report USING (id) WHERE id = ?", [number]).fetchone())


def _tables() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    for statement in SCHEMA:
        connection.execute(statement)
    return connection


@given(names=st.tuples(*[_TEXT] * 6), findings=_TEXT, impression=_TEXT, labels=_LABELS, facts=_FACTS, split=st.sampled_from(["", "train"]))
def test_a_record_comes_back_from_the_table_as_it_was(
    names: tuple[str, ...], findings: str, impression: str, labels: tuple[int | None, ...], facts: Demographics, split: str
) -> None:
    volume, scan, accession, patient, source, voxels = names
    record = Record(
        volume=volume, scan=scan, accession=accession, patient=patient, split=split, labels=labels, facts=facts,
        report=Report(findings=findings, impression=impression), source_sha256=source, voxels_sha256=voxels,
    )  # fmt: skip
    assert to_record(to_row(record)) == replace(record, report=Report())
    with closing(_tables()) as connection:
        assert _stored(record, connection) == record


def test_a_row_has_a_value_for_each_column_by_its_name() -> None:
    facts = Demographics(age=61, sex="F", date="2019", scanner="GE")
    record = _record(
        labels=(1, 0, None) + (0,) * 15, facts=facts, source_sha256="x", report=Report(findings="A  mass.\n", impression="(Mass)")
    )
    row = dict(zip(COLUMNS, to_row(record), strict=True))
    assert row["report_sha256"] == sha256(b"A mass. Mass").hexdigest()
    assert row["labels"] == "10-" + "0" * 15
    assert (row["age"], row["sex"], row["date"], row["scanner"]) == (61, "F", "2019", "GE")
    assert (row["volume"], row["scan"], row["accession"], row["patient"], row["source_sha256"]) == ("v", "s", "a", "p", "x")


def _passes(record: Record, filters: Filters) -> bool:
    """The filters' own words in Python: dates are compared as far as both are stated, and what is not stated does not pass."""
    labels, facts = dict(zip(ABNORMALITIES, record.labels, strict=True)), record.facts

    def compared(date: str) -> tuple[str, str]:
        length = min(len(date), len(facts.date))
        return facts.date[:length], date[:length]

    first, last = compared(filters.date_from), compared(filters.date_to)
    return (
        all(labels[name] == 1 for name in filters.present)
        and all(labels[name] == 0 for name in filters.absent)
        and (filters.age_from is None or (facts.age is not None and facts.age >= filters.age_from))
        and (filters.age_to is None or (facts.age is not None and facts.age <= filters.age_to))
        and (not filters.sex or facts.sex == filters.sex)
        and (not filters.date_from or (facts.date != "" and first[0] >= first[1]))
        and (not filters.date_to or (facts.date != "" and last[0] <= last[1]))
        and filters.scanner.lower() in facts.scanner.lower()
        and filters.split in ("", record.split)
    )


def _filters(**values: Any) -> Filters | None:
    """Filters, or none where no record can pass them."""
    try:
        return Filters(**values)
    except InputError:
        return None


@given(
    labels=_LABELS,
    facts=_FACTS,
    split=st.sampled_from(["", "train", "valid"]),
    filters=st.builds(
        _filters,
        present=st.lists(st.sampled_from(ABNORMALITIES), max_size=2).map(tuple),
        absent=st.lists(st.sampled_from(ABNORMALITIES), max_size=1).map(tuple),
        age_from=st.none() | st.integers(0, 120),
        age_to=st.none() | st.integers(0, 120),
        sex=st.sampled_from(["", "", "F", "O"]),
        date_from=_DATES,
        date_to=_DATES,
        scanner=st.sampled_from(["", "", "GE", "force"]),
        split=st.sampled_from(["", "", "train"]),
    ),
)
def test_sql_keeps_the_records_that_pass(labels: tuple[int | None, ...], facts: Demographics, split: str, filters: Filters | None) -> None:
    assume(filters is not None)
    assert filters is not None
    record = _record(labels=labels, facts=facts, split=split)
    with closing(_tables()) as connection:
        _stored(record, connection)
        condition, values = where(filters)
        assert bool(connection.execute(f"SELECT 1 FROM record WHERE {condition}", values).fetchall()) == _passes(record, filters)


def test_dates_are_compared_as_far_as_both_are_stated() -> None:
    dates = ["2018", "2019", "2019-02", "2019-03-04", "2020"]
    with closing(_tables()) as connection:
        for date in ["", *dates]:
            _stored(_record(volume=date, facts=Demographics(date=date)), connection)
        for filters, expected in (
            (Filters(date_from="2019-03"), {"2019", "2019-03-04", "2020"}),
            (Filters(date_to="2019-03"), {"2018", "2019", "2019-02", "2019-03-04"}),
            (Filters(date_from="2019", date_to="2019"), {"2019", "2019-02", "2019-03-04"}),
        ):
            condition, values = where(filters)
            assert {row[0] for row in connection.execute(f"SELECT date FROM record WHERE {condition}", values)} == expected


def test_a_scanner_is_found_by_part_of_its_name_in_any_case() -> None:
    with closing(_tables()) as connection:
        _stored(_record(facts=Demographics(scanner="Siemens Force")), connection)
        for scanner, passes in (("force", True), ("SIEMENS F", True), ("forces", False)):
            condition, values = where(Filters(scanner=scanner))
            assert len(connection.execute(f"SELECT 1 FROM record WHERE {condition}", values).fetchall()) == passes


def test_what_a_person_typed_is_a_value_and_never_sql() -> None:
    for scanner, split in product(["'; DROP TABLE record; --", '"', "%", "_"], ["", "' OR '1' = '1"]):
        condition, values = where(Filters(scanner=scanner, split=split))
        with closing(_tables()) as connection:
            _stored(_record(facts=Demographics(scanner="GE"), split="train"), connection)
            assert connection.execute(f"SELECT 1 FROM record WHERE {condition}", values).fetchall() == []


_REPORTS = (
    "Pleural effusion on the left.",
    "No pericardial effusion; nodules.",
    "Nodular opacity, emphysematous.",
    "Emphysema and a nodule. Pleural thickening.",
    "",
)
_TERMS = st.sampled_from(
    [
        Term(text="effusions"),
        Term(text="nodule"),
        Term(text="emphysema"),
        Term(text="pleural effusion"),
        Term(text="nodu", prefix=True),
        Term(text="emphysem", prefix=True),
        Term(text="pleural eff", prefix=True),
        Term(text="zebra", prefix=True),
    ]
)
_TREES = st.recursive(
    _TERMS,
    lambda parts: (
        st.lists(parts, min_size=1, max_size=3).map(lambda chosen: AnyOf(parts=tuple(chosen)))
        | st.tuples(st.lists(parts, min_size=1, max_size=3), st.lists(parts, max_size=2)).map(
            lambda pair: AllOf(parts=tuple(pair[0]), without=tuple(pair[1]))
        )
    ),
    max_leaves=8,
)


def _ids(tree: Keywords) -> set[int]:
    """What a tree matches, by its own words: terms by stems, beginnings by words as they are written."""
    if isinstance(tree, AnyOf):
        return set.union(*map(_ids, tree.parts))
    if isinstance(tree, AllOf):
        return set.intersection(*map(_ids, tree.parts)).difference(*map(_ids, tree.without))
    tokenizer = UNSTEMMED if tree.prefix else STEMMED
    term, *texts = (" ".join(words) for words in stems([tree.text, *_REPORTS], tokenizer=tokenizer))
    pattern = re.compile(rf"\b{term}" + ("" if tree.prefix else r"\b"))
    return {number for number, text in enumerate(texts, 1) if pattern.search(text)}


@pytest.fixture(scope="module")
def reports() -> Iterator[sqlite3.Connection]:
    with closing(_tables()) as connection:
        for number, text in enumerate(_REPORTS):
            facts = Demographics(sex="FM"[number % 2])
            _stored(_record(volume=f"v{number}", facts=facts, report=Report(findings=text)), connection)
        yield connection


@given(tree=_TREES)
def test_sql_finds_what_a_query_says_with_filters_and_without(reports: sqlite3.Connection, tree: Keywords) -> None:
    expected = _ids(tree)
    statement, values = matching_ids(tree)
    assert {row[0] for row in reports.execute(statement, values)} == expected
    for filters, passing in ((Filters(), {1, 2, 3, 4, 5}), (Filters(sex="F"), {1, 3, 5})):
        statement, values = ranked(tree, filters)
        rows = reports.execute(f"{statement} LIMIT 10", values).fetchall()
        assert {row[0] for row in rows} == expected & passing
        assert len(rows) == len(expected & passing)
        scores = [score for _, score in rows]
        assert scores == sorted(scores, reverse=True)


def test_with_a_record_go_its_latent_its_picture_its_report_and_its_words() -> None:
    with closing(_tables()) as connection:
        _stored(_record(report=Report(findings="Zebrafish.")), connection)
        connection.execute("INSERT INTO vector VALUES (1, x'00')")
        connection.execute("INSERT INTO thumbnail VALUES (1, x'00')")
        queries = [f"SELECT count(*) FROM {table} WHERE {table} MATCH 'zebrafish'" for table in ("words", "beginnings")]
        assert [connection.execute(query).fetchone() for query in queries] == [(1,), (1,)]
        connection.execute("DELETE FROM record WHERE id = 1")
        counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("vector", "thumbnail", "report")]
        assert (counts, [connection.execute(query).fetchone() for query in queries]) == ([0, 0, 0], [(0,), (0,)])
        _stored(_record(), connection)
        assert connection.execute("SELECT id FROM record").fetchall() == [(2,)], "an id stands for its first record or for none"

"""The database of an index: what is added comes back, words are looked up once, and damage is said."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from thoracle.errors import IndexDamaged, IndexMissing, IndexUnwritable
from thoracle.search.keywords import parse
from thoracle.search.local.database import DATABASE, Database
from thoracle.search.local.index import LocalIndex
from thoracle.search.local.schema import ranked
from thoracle.search.record import Filters

_ALL = Filters()


def _add(database: Database, *additions) -> list[int]:
    with database.change():
        return database.add(additions)


def test_what_is_added_comes_back_by_its_id(database: Database, path: Path, make) -> None:
    numbers = _add(database, make(1), make(2), make(3))
    assert numbers == [1, 2, 3]
    reader = Database(path)
    assert reader.records([3, 1, 9]) == {1: make(1).record, 3: make(3).record}
    assert np.array_equal(reader.latents([3, 1]), np.stack([make(1).latent_L, make(3).latent_L])), "in order of id"
    assert reader.thumbnails([2, 9]) == {2: make(2).thumbnail}
    assert len(reader) == 3


def test_more_ids_than_a_statement_takes_are_asked_for_in_parts(database: Database, make) -> None:
    numbers = _add(database, *(make(number) for number in range(1100)))
    database._connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)  # as SQLite had before 3.32
    assert list(database.records(numbers)) == numbers
    assert np.array_equal(database.latents(numbers[::-1])[[0, 700, -1]], np.stack([make(n).latent_L for n in (0, 700, 1099)]))


def test_a_volume_is_there_once_and_no_id_is_used_again(database: Database, make) -> None:
    _add(database, make(1), make(2))
    assert _add(database, make(2, words="Zebrafish.")) == [3]
    assert (len(database), database.find(volume="v2"), database.records([2])) == (2, [3], {})
    with database.change():
        database.delete([3])
    assert _add(database, make(4)) == [4]


def test_names_are_found_whole_or_by_their_ending(database: Database, make) -> None:
    _add(database, make(1, scan="p_0123abcd"), make(2, scan="q_0123abcd"), make(3, scan="q_4567abcd"), make(4, patient=""))
    assert database.find(scan="q_0123abcd") == [2]
    assert database.find_endings(scan="_0123abcd") == [1, 2]
    assert database.find_endings(scan="_0123abcd", volume="2") == [2]
    assert database.find(scan="0123abcd") == database.find(scan="q%") == database.find(scan="*_0123abcd") == []
    assert database.find(patient="") == [4]
    with pytest.raises(AssertionError):
        database.find(**{"1 = 1 OR scan": "x"})


def test_deleted_words_are_not_found_and_best_matches_come_first(database: Database, make) -> None:
    _add(database, make(0), make(1), make(2, words="Effusion, effusion, effusion."))
    matches = database.search(parse("effusion"), k=9, filters=_ALL)
    assert matches[0][0] == 3
    assert [score for _, score in matches] == sorted((score for _, score in matches), reverse=True)
    with database.change():
        database.delete([3])
    assert {number for number, _ in database.search(parse("effusion"), k=9, filters=_ALL)} == {1, 2}
    assert [number for number, _ in database.search(parse("effusion"), k=9, filters=Filters(sex="M"))] == [2]
    database.check()


_FILTERS = Filters(sex="F", split="train", present=("Emphysema",), date_from="2019")


@pytest.mark.parametrize(
    "query", ["effusion", "effus*", '"pleural eff"*', "effusion NOT pericardial", "effusion nodul*", "effusion NOT nodul*"]
)
@pytest.mark.parametrize("filters", [_ALL, _FILTERS], ids=["all", "filtered"])
def test_no_plan_looks_up_words_once_for_each_record_that_passes(database: Database, make, query: str, filters: Filters) -> None:
    """A full text that is a scan is read once; with `=` in its plan it would be read anew for each id that stands to its left."""
    _add(database, make(1))
    statement, values = ranked(parse(query), filters)
    steps = [str(row[3]) for row in database._connection.execute(f"EXPLAIN QUERY PLAN {statement} LIMIT 10", values)]
    words = [step for step in steps if "VIRTUAL TABLE" in step]
    assert words
    assert all(step.startswith("SCAN") and step.split(":")[-1][0] == "M" for step in words), steps
    assert not [step for step in steps if "CORRELATED" in step]
    assert len([step for step in steps if "SCAN record" in step]) <= 1, "records are read once"


def test_what_is_excluded_is_looked_up_once(database: Database, make) -> None:
    _add(database, make(0), make(1), make(2))
    statements: list[str] = []
    database._connection.set_trace_callback(statements.append)
    assert database.matching(_ALL, without=parse("pericardial")) == [3]
    database._connection.set_trace_callback(None)
    steps = [str(row[3]) for row in database._connection.execute(f"EXPLAIN QUERY PLAN {statements[0]}")]
    assert [step for step in steps if "VIRTUAL TABLE" in step] == ["SCAN words VIRTUAL TABLE INDEX 0:M2"]
    assert not [step for step in steps if "CORRELATED" in step]


def test_the_plan_that_took_minutes_is_the_one_that_is_looked_for(database: Database) -> None:
    slow = "SELECT rowid, -rank FROM words WHERE words MATCH ? AND rowid IN (SELECT id FROM record WHERE sex = 'F') ORDER BY rank, rowid"
    steps = [str(row[3]) for row in database._connection.execute(f"EXPLAIN QUERY PLAN {slow}", ["effusion"])]
    assert [step for step in steps if "VIRTUAL TABLE" in step and step.split(":")[-1][0] == "="]


# What is no index, or damaged


def test_what_is_not_there_is_said_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(IndexMissing, match=r"holds no index.*thoracle index COHORT --model MODEL") as error:
        Database(tmp_path / "nowhere" / "index.sqlite")
    assert error.value.source == str(tmp_path / "nowhere")
    with pytest.raises(IndexUnwritable, match=r"could not be written.*as it was before"):
        Database(tmp_path / "nowhere" / "index.sqlite", write=True)
    assert list(tmp_path.iterdir()) == []


def test_damage_is_said(index: LocalIndex) -> None:
    index.check()
    with closing(sqlite3.connect(index.folder / DATABASE)) as connection:
        connection.execute("DELETE FROM vector WHERE id = 1")
        connection.commit()
    with pytest.raises(IndexDamaged, match="40 records, 39 of 39 latents and 40 of 40 reports"):
        index.check()
    (index.folder / DATABASE).write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(IndexDamaged, match=r"is not the database of an index, or damaged.*Make the index anew"):
        LocalIndex(index.folder)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("DELETE FROM vector WHERE id = 2", r"3 records, 2 of 2 latents and 3 of 3 reports are theirs"),
        ("INSERT INTO vector VALUES (77, x'00')", r"3 records, 3 of 4 latents and 3 of 3 reports are theirs"),
        ("UPDATE vector SET id = 77 WHERE id = 2", r"3 records, 2 of 3 latents and 3 of 3 reports are theirs"),
        ("INSERT INTO report VALUES (77, '', '')", r"3 records, 3 of 3 latents and 3 of 4 reports are theirs"),
        ("UPDATE report SET findings = 'other' WHERE id = 1", "is not the database of an index, or damaged"),
        ("DROP TABLE words", "no such table"),
        ("INSERT INTO beginnings(beginnings) VALUES ('delete-all')", "is not the database of an index, or damaged"),
    ],
)
def test_rows_latents_and_full_text_must_agree(database: Database, path: Path, make, damage: str, says: str) -> None:
    _add(database, make(1), make(2), make(3))
    database.check()
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    with pytest.raises(IndexDamaged, match=says) as error:
        database.check()
    assert error.value.source == str(path)


def test_another_file_of_sqlite_is_no_index(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other(x)")
    with pytest.raises(IndexDamaged, match=r"no such table: meta.*Make the index anew"):
        _ = Database(path).settings

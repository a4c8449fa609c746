"""The database of an index: changes are whole or nothing, damage is said, and two writers take turns."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from thoracle.errors import IndexBusy, IndexDamaged, IndexMissing, IndexUnwritable
from thoracle.search.keywords import parse
from thoracle.search.local import database as module
from thoracle.search.local.database import Database
from thoracle.search.local.index import DATABASE, LocalIndex
from thoracle.search.local.schema import ranked
from thoracle.search.record import Filters

_ALL = Filters()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """New, and open for writing."""
    database = Database(path, write=True)
    yield database
    database.close()


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
    vectors = reader.vectors(None, dim=8)
    assert (vectors.ids.tolist(), vectors.array.shape, vectors.state) == ([1, 2, 3], (3, 8), reader.state)
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


def test_a_change_that_fails_has_no_effect(database: Database, path: Path, make) -> None:
    _add(database, make(1))
    state = database.state
    with pytest.raises(KeyboardInterrupt), database.change():  # noqa: PT012
        database.add([make(2)])
        database.delete([1])
        database.put("note", "x")
        raise KeyboardInterrupt
    assert (len(database), database.state, database.get("note")) == (1, state, None)
    assert Database(path).search(parse("pericardial"), k=9, filters=_ALL) == database.search(parse("pericardial"), k=9, filters=_ALL) != []
    database.check()


def test_each_change_has_another_state_and_notes_are_kept_until_taken_away(database: Database) -> None:
    states = [database.state]
    for note in ("a", "b", None):
        with database.change():
            database.put("note", note)
        assert database.get("note") == note
        states.append(database.state)
    assert len(set(states)) == 4
    assert {len(state) for state in states} == {16}
    assert database.settings == {}


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


# Two of them


def test_a_second_writer_is_refused_until_the_first_is_done(database: Database, path: Path, make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAIT", 0.05)
    second = Database(path, write=True)
    with database.change():
        database.add([make(1)])
        with pytest.raises(IndexBusy, match=r"another process has been writing to it.*Wait for it") as error, second.change():
            pytest.fail("two writers at once")
        assert error.value.source == str(path)
    assert _add(second, make(2)) == [2]
    assert len(database) == 2


def test_a_reader_sees_the_state_before_until_a_change_is_done(database: Database, path: Path, make) -> None:
    reader = Database(path)
    before = reader.state
    with database.change():
        database.add([make(1)])
        assert (len(reader), reader.state) == (0, before)
    assert len(reader) == 1
    assert reader.state == database.state != before


def test_a_reader_changes_nothing(database: Database, path: Path, make) -> None:
    reader = Database(path)
    with pytest.raises(IndexUnwritable, match="could not be written"), reader.change():
        reader.add([make(1)])
    assert len(database) == 0


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


@pytest.mark.parametrize(
    "cut", [lambda content: content[: len(content) // 2], lambda content: content[:4096] + b"\xff" * (len(content) - 4096), lambda _: b"x"]
)
def test_pages_that_are_cut_or_overwritten_are_said(path: Path, make, cut: Callable[[bytes], bytes]) -> None:
    writer = Database(path, write=True)
    _add(writer, *(make(number, words=f"filler{number} " * 50) for number in range(100)))
    writer.close()
    path.write_bytes(cut(path.read_bytes()))
    with pytest.raises(IndexDamaged, match=r"is not the database of an index, or damaged"):
        Database(path).check()


def test_another_file_of_sqlite_is_no_index(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other(x)")
    with pytest.raises(IndexDamaged, match=r"no such table: meta.*Make the index anew"):
        _ = Database(path).settings

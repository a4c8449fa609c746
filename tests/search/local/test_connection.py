"""Connections to a database: changes are whole or nothing, two writers take turns, and readers follow the file."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from thoracle.errors import IndexBusy, IndexDamaged, IndexUnwritable
from thoracle.search.keywords import parse
from thoracle.search.local import connection as module
from thoracle.search.local.database import DATABASE, Database
from thoracle.search.local.index import LocalIndex, open_for_writing
from thoracle.search.record import Filters

_ALL = Filters()


def test_a_change_that_fails_has_no_effect(database: Database, path: Path, make) -> None:
    with database.change():
        database.add([make(1)])
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


# Two of them


def test_a_second_writer_is_refused_until_the_first_is_done(database: Database, path: Path, make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAIT", 0.05)
    second = Database(path, write=True)
    with database.change():
        database.add([make(1)])
        with pytest.raises(IndexBusy, match=r"another process has been writing to it.*Wait for it") as error, second.change():
            pytest.fail("two writers at once")
        assert error.value.source == str(path)
    with second.change():
        assert second.add([make(2)]) == [2]
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


def test_a_reader_goes_on_when_the_database_is_written_anew(index: LocalIndex, make) -> None:
    before = (index.folder / DATABASE).stat().st_ino
    numbers = index.ids_where(volume="v4")
    with open_for_writing(index.folder) as begun:
        begun.delete(numbers)
    assert (index.folder / DATABASE).stat().st_ino != before
    assert index.records(numbers) == {}
    assert (len(index), len(index.ids())) == (39, 39)
    with open_for_writing(index.folder) as begun:
        begun.add([make(70)])
    assert len(index.vector_search(make(70).latent_L, k=99, filters=_ALL)) == 40


def test_a_reader_that_is_behind_leaves_a_writers_journal_alone(index: LocalIndex, make) -> None:
    """A reader of the file that was replaced sees the journal of the new one, which is no remnant of a killed writer."""
    reader = index._database
    with open_for_writing(index.folder) as begun:
        begun.delete(begun.ids_where(volume="v4"))
        begun.finish()
        begun._database._connection.execute("PRAGMA cache_size = 1")  # the journal is on the disk before the end of the change
        with begun._database.change():
            begun._database.add([make(71, words="much " * 20_000)])
            journal = index.folder / f"{DATABASE}-journal"
            before = journal.read_bytes()
            assert before[:1] != b"\0"
            with pytest.raises(sqlite3.OperationalError, match="readonly"):  # the connection itself, behind the look at the file
                reader._connection.execute("SELECT count(*) FROM record").fetchall()
            assert journal.read_bytes() == before
    assert len(index.ids()) == 40


def test_what_a_killed_writer_left_is_rolled_back_by_the_next_reader(index: LocalIndex, make) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from thoracle.search.local.database import Database\n"
        "database = Database(Path(sys.argv[1]), write=True)\n"
        "database._connection.execute('PRAGMA cache_size = 1')\n"
        "database._connection.execute('BEGIN')\n"
        "database._connection.execute('DELETE FROM record WHERE id > 3')\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(index.folder / DATABASE)], check=False)
    assert (index.folder / f"{DATABASE}-journal").stat().st_size > 512
    fresh = LocalIndex(index.folder)
    assert (len(fresh.ids()), len(index.ids())) == (40, 40)
    assert not (index.folder / f"{DATABASE}-journal").exists()


# What is no index, or damaged


@pytest.mark.parametrize(
    "cut", [lambda content: content[: len(content) // 2], lambda content: content[:4096] + b"\xff" * (len(content) - 4096), lambda _: b"x"]
)
def test_pages_that_are_cut_or_overwritten_are_said(path: Path, make, cut: Callable[[bytes], bytes]) -> None:
    writer = Database(path, write=True)
    with writer.change():
        writer.add([make(number, words=f"filler{number} " * 50) for number in range(100)])
    writer.close()
    path.write_bytes(cut(path.read_bytes()))
    with pytest.raises(IndexDamaged, match=r"is not the database of an index, or damaged"):
        Database(path).check()

"""The truth of an index: one SQLite file of records, latents, thumbnails and full text.

Each change is one transaction, under a rollback journal: before 3.51.3 SQLite's WAL can damage what several processes write
(docs/decisions/0030-search-index.md). A killed process leaves the old state or the new one.

Erasing writes the file anew beside itself and puts it in its place (docs/decisions/0035-growing-and-erasing.md). Readers therefore look
whether theirs is still the file, and open it so that they cannot take another file's journal for its own.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from thoracle.errors import IndexBusy, IndexDamaged, IndexMissing, IndexUnwritable, SearchError
from thoracle.files.atomic import flush_to_disk, make_private, temporary_beside
from thoracle.files.lock import exclusive_lock
from thoracle.search.keywords import Keywords
from thoracle.search.local.schema import COLUMNS, REPORT_COLUMNS, SCHEMA, TEXT_TABLES, matching_ids, ranked, to_record, to_row
from thoracle.search.local.schema import where as as_sql
from thoracle.search.local.vectors import IdLatents, VectorFile, Vectors
from thoracle.search.record import Filters, IndexedVolume, LatentArray, Record

_WAIT: Final = 30.0  # seconds for another process's transaction
_MANY: Final = 500  # parameters of one statement
_PAUSE: Final = 0.05  # seconds between looks at a journal that another process is about to remove
#: The note that says that something was deleted and is not erased.
ERASING: Final = "erasing"
_COUNT: Final = "count"
_ABSENT: Final = (0, 0)
_READONLY_ROLLBACK: Final = sqlite3.SQLITE_READONLY_ROLLBACK
_READONLY_CANTLOCK: Final = sqlite3.SQLITE_READONLY_CANTLOCK
_MERGED: Final = (16, 500)  # pages of full text merged in one transaction, a hundredth of the file between them: so much may the file grow
_MERGES: Final = 100
_READING: Final = ("query_only = ON", "cache_size = -65536", "temp_store = MEMORY")
_WRITING: Final = ("journal_mode = DELETE", "synchronous = EXTRA", "secure_delete = ON", "temp_store = MEMORY")


class Database:
    """Hold one SQLite connection. Ids are never used twice: an id stands for its first record or for none.

    Raises:
        IndexMissing, IndexDamaged, IndexBusy, IndexUnwritable: as they say; so do all methods.
    """

    def __init__(self, path: Path, *, write: bool = False) -> None:
        if not write and not path.is_file():
            raise IndexMissing("holds no index", hint="Make one: thoracle index COHORT --model MODEL --out INDEX.", source=path.parent)
        self.path, self._write = path, write
        with self._faults():
            if write:
                _private(path)
            self._connection, self._file = self._connect()
            if write and not self._rows("SELECT 1 FROM sqlite_schema WHERE name = 'words'"):
                with self.change():
                    for statement in SCHEMA:
                        self._connection.execute(statement)
                    self.put(_COUNT, "0")

    def _connect(self) -> tuple[sqlite3.Connection, tuple[int, int]]:
        """A connection, and which file it is to: looked at before, so that it may be too old, never too new."""
        until = time.monotonic() + _WAIT
        while True:
            file = _file(self.path)
            uri = f"file:{quote(str(self.path))}?mode={'rw' if self._write else 'ro'}"
            connection = sqlite3.connect(uri, uri=True, timeout=_WAIT, isolation_level=None, check_same_thread=False)
            try:
                for pragma in _WRITING if self._write else _READING:  # no temporary file: words would lie outside the index
                    connection.execute(f"PRAGMA {pragma}")
            except sqlite3.OperationalError as error:
                connection.close()
                if not _meets_journal(error) or time.monotonic() > until:
                    raise
                self._roll_back()
            else:
                return connection, file

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def change(self) -> Iterator[None]:
        """Run one transaction: on the disk at its end, or without effect."""
        with self._faults():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.put("state", secrets.token_hex(8))
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    # What is there

    @property
    def state(self) -> str:
        """Return 16 characters that change with each change."""
        return self.get("state") or ""

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings that the index was created with; empty before that."""
        values: dict[str, Any] = json.loads(self.get("settings") or "{}")
        return values

    def get(self, key: str) -> str | None:
        """Return a note by key."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", [key])
        return str(rows[0][0]) if rows else None

    def __len__(self) -> int:
        return int(self.get(_COUNT) or 0)

    def records(self, numbers: Sequence[int]) -> dict[int, Record]:
        """Return records by id; absent ids are left out."""
        records: dict[int, Record] = {}
        columns = ", ".join(("id", *COLUMNS, *REPORT_COLUMNS))
        for row in self._in(f"SELECT {columns} FROM record JOIN report USING (id) WHERE id IN", numbers):
            records[row[0]] = to_record(row[1:])
        return records

    def latents(self, numbers: Sequence[int]) -> LatentArray:
        """Return (n, L), in order of id."""
        rows = self._in("SELECT latent, id FROM vector WHERE id IN", numbers)
        return np.stack([np.frombuffer(latent, "<f4") for latent, _ in sorted(rows, key=lambda row: int(row[1]))])

    def thumbnails(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """Return PNGs, by id; those that are there."""
        return dict(self._in("SELECT id, png FROM thumbnail WHERE id IN", numbers))

    def vectors(self, stored: VectorFile | None, *, dim: int) -> Vectors:
        """Return all vectors of one state: those of the file, without those that have no record, and those that it does not have yet."""
        with self._faults(), self._snapshot():
            count = len(self)
            if stored is not None and self._agrees(stored):
                tail = self._latents_after(stored.last_id)
                live = None if stored.live.all() else stored.live
                if int(stored.live.sum()) + len(tail) != count:
                    live = stored.live & np.isin(stored.ids, np.array(self._all_ids(), np.int64), assume_unique=True)
                if (len(stored.ids) if live is None else int(live.sum())) + len(tail) == count:
                    return self._joined(stored, live, tail, dim=dim)
            return self._joined(None, None, self._latents_after(0), dim=dim)

    def _joined(self, stored: VectorFile | None, live: NDArray[np.bool_] | None, tail: list[tuple[int, bytes]], *, dim: int) -> Vectors:
        ids = np.array([number for number, _ in tail], np.int64)
        latents = np.frombuffer(b"".join(latent for _, latent in tail), "<f4").reshape(len(tail), dim)
        if stored is None:
            return Vectors(state=self.state, ids=ids, array=latents)
        if live is not None:
            live = np.concatenate([live, np.ones(len(tail), bool)])
        return Vectors(
            state=self.state, ids=np.concatenate([stored.ids, ids]), array=stored.array, tail=latents if tail else None, live=live,
            token=stored.token,
        )  # fmt: skip

    def agrees_with(self, stored: VectorFile) -> bool:
        """Tell whether a file of vectors is of this database, and lacks nothing but what came later."""
        with self._faults(), self._snapshot():
            highest = self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'record'")
            return stored.last_id <= (int(highest[0][0]) if highest else 0) and self._agrees(stored)

    def without_record(self, stored: VectorFile) -> list[int]:
        """List live rows of a file of vectors whose record is gone."""
        ids = np.array(self._all_ids(), np.int64)
        return np.flatnonzero(stored.live & ~np.isin(stored.ids, ids, assume_unique=True)).tolist()

    def latents_after(self, number: int) -> IdLatents:
        """Iterate over ids above this one, in order, and their latents, while nothing else is done with the database."""
        with self._faults():
            yield from self._connection.execute("SELECT id, latent FROM vector WHERE id > ? ORDER BY id", [number])

    def _latents_after(self, number: int) -> list[tuple[int, bytes]]:
        return self._rows("SELECT id, latent FROM vector WHERE id > ? ORDER BY id", [number])

    def _all_ids(self) -> list[int]:
        return [row[0] for row in self._rows("SELECT id FROM record")]

    def _agrees(self, stored: VectorFile) -> bool:
        """Whether the last latent that both have is the same: a database that was put back from a copy has gone on otherwise since."""
        rows = self._rows("SELECT id, latent FROM vector WHERE id <= ? ORDER BY id DESC LIMIT 1", [stored.last_id])
        if not rows:
            return True
        row = int(np.searchsorted(stored.ids, rows[0][0]))
        return bool(stored.ids[row] == rows[0][0] and stored.live[row] and stored.array[row].tobytes() == rows[0][1])

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """One state for several statements."""
        self._reconnect_where_replaced()
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("COMMIT")

    def find(self, **values: str) -> list[int]:
        """List ids of records whose columns hold these values, in order."""
        return self._ids({f"{name} = ?": value for name, value in values.items()}, columns=values)

    def find_endings(self, **endings: str) -> list[int]:
        """List ids of records whose columns end so, in order."""
        return self._ids({f"substr({name}, -{len(value)}) = ?": value for name, value in endings.items()}, columns=endings)

    def matching(self, filters: Filters, *, without: Keywords | None = None) -> list[int]:
        """List ids of records that pass, in order, `without` those whose reports match it."""
        condition, values = as_sql(filters)
        if without is not None:
            excluded, more = matching_ids(without)
            condition, values = f"{condition} AND id NOT IN ({excluded})", [*values, *more]
        return [row[0] for row in self._rows(f"SELECT id FROM record WHERE {condition} ORDER BY id", values)]

    def matching_records(self, query: Keywords | None, *, filters: Filters) -> list[Record]:
        """Return records that match and pass, in order of id, without their reports."""
        condition, values = as_sql(filters)
        if query is not None:
            ids, more = matching_ids(query)
            condition, values = f"{condition} AND id IN ({ids})", [*values, *more]
        return [to_record(row) for row in self._rows(f"SELECT {', '.join(COLUMNS)} FROM record WHERE {condition} ORDER BY id", values)]

    def search(self, query: Keywords, *, k: int, filters: Filters) -> list[tuple[int, float]]:
        """List ids of records whose reports match, best first by BM25, and its value: larger is better."""
        statement, values = ranked(query, filters)
        return [(int(number), float(score)) for number, score in self._rows(f"{statement} LIMIT ?", [*values, k])]

    def check(self) -> None:
        """Check that rows, latents and full text agree, and the file is sound.

        Raises:
            IndexDamaged: they do not.
        """
        verdict = self._rows("PRAGMA integrity_check(1)")[0][0]
        tables = ("record", "vector JOIN record USING (id)", "vector", "report JOIN record USING (id)", "report")
        counts = [self._rows(f"SELECT count(*) FROM {table}")[0][0] for table in tables]
        if verdict != "ok" or len({*counts, len(self)}) != 1:
            numbers = "{:,} records, {:,} of {:,} latents and {:,} of {:,} reports are theirs".format(*counts)
            raise self._damaged(verdict if verdict != "ok" else f"{numbers}, {len(self):,} were counted")
        with self._faults(), closing(sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)) as connection:
            for table in TEXT_TABLES:  # the check is worded as an insertion
                connection.execute(f"INSERT INTO {table}({table}, rank) VALUES ('integrity-check', 1)")

    # What changes it; inside `change`

    def put(self, key: str, value: str | None) -> None:
        """Store a note; None removes it."""
        if value is None:
            self._connection.execute("DELETE FROM meta WHERE key = ?", [key])
        else:
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, value])

    def add(self, additions: Sequence[IndexedVolume]) -> list[int]:
        """Add records and return their ids; each takes the place of a record of the same volume, whose bytes stay until `erase`."""
        numbers, replaced = [], 0
        for addition in additions:
            replaced += self._connection.execute("DELETE FROM record WHERE volume = ?", [addition.record.volume]).rowcount
            marks = ", ".join("?" * len(COLUMNS))
            statement = f"INSERT INTO record({', '.join(COLUMNS)}) VALUES ({marks})"
            number = self._connection.execute(statement, to_row(addition.record)).lastrowid
            assert number is not None, "it was inserted"
            report = addition.record.report
            self._connection.execute("INSERT INTO report VALUES (?, ?, ?)", [number, report.findings, report.impression])
            self._connection.execute("INSERT INTO vector VALUES (?, ?)", [number, np.ascontiguousarray(addition.latent_L, "<f4").tobytes()])
            if addition.thumbnail:
                self._connection.execute("INSERT INTO thumbnail VALUES (?, ?)", [number, addition.thumbnail])
            numbers.append(number)
        self.put(_COUNT, str(len(self) + len(numbers) - replaced))
        if replaced:
            self.put(ERASING, "1")
        return numbers

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete rows, latents, thumbnails and words. Bytes of them stay until `erase`."""
        deleted = self._connection.executemany("DELETE FROM record WHERE id = ?", ([number] for number in numbers)).rowcount
        self.put(_COUNT, str(len(self) - max(0, deleted)))
        self.put(ERASING, "1")

    # Outside `change`

    def erase(self) -> None:
        """Remove every byte of what was deleted or replaced; it takes as much room in the file's folder as the file has.

        Words of deleted reports stay in segments of the full text until these merge, and balanced trees leave copies in free space. So
        segments are merged, a little at a time, every page is written anew beside the file, and the new file takes its place.

        Raises:
            IndexUnwritable: the disk is full, or the file cannot be replaced; the database is sound, and may hold such bytes.
        """
        temporary = temporary_beside(self.path)
        try:
            with self._faults():
                for table in TEXT_TABLES:
                    self._merge(table)
                make_private(temporary)
                self._connection.execute("VACUUM INTO ?", [str(temporary)])
                flush_to_disk(temporary)
                self._connection.close()
                try:
                    temporary.replace(self.path)
                finally:
                    self._connection, self._file = self._connect()
                flush_to_disk(self.path.parent)
        finally:
            for left in temporary.parent.glob(f"{temporary.name}*"):  # its journal too, where there was no room
                left.unlink(missing_ok=True)

    def _merge(self, table: str) -> None:
        """All segments of a full text into one: a negative number of pages marks them, positive ones go on, until nothing changes."""
        least, most = _MERGED
        step = max(least, min(most, int(self._rows("PRAGMA page_count")[0][0]) // _MERGES))
        pages = -step
        while True:
            before = self._connection.total_changes
            self._connection.execute(f"INSERT INTO {table}({table}, rank) VALUES ('merge', ?)", [pages])
            if pages > 0 and self._connection.total_changes - before < 2:
                return
            pages = step

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._faults():
            self._reconnect_where_replaced()
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.OperationalError as error:
                if not _meets_journal(error) or self._connection.in_transaction:
                    raise
            self._connection, self._file = self._connect()
            return self._connection.execute(statement, values).fetchall()

    def _ids(self, conditions: Mapping[str, str], *, columns: Collection[str]) -> list[int]:
        assert set(columns) <= set(COLUMNS), "columns, not what a user typed"
        statement = f"SELECT id FROM record WHERE {' AND '.join(conditions)} ORDER BY id"
        return [row[0] for row in self._rows(statement, list(conditions.values()))]

    def _roll_back(self) -> None:
        """Let a connection that may write roll back what a killed writer left; wait where there is a writer, which is alive."""
        try:
            with (
                exclusive_lock(self.path.parent, refusal=IndexBusy, detail="another process is changing this index"),
                closing(sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)) as connection,
            ):
                connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
        except IndexBusy:
            time.sleep(_PAUSE)

    def _reconnect_where_replaced(self) -> None:
        """Open the file that has taken the place of the one that a reader has opened, which closes when no thread reads it any more."""
        if not self._write and not self._connection.in_transaction and _file(self.path) not in (self._file, _ABSENT):
            self._connection, self._file = self._connect()

    def _in(self, statement: str, numbers: Sequence[int]) -> list[Any]:
        rows = []
        for at in range(0, len(numbers), _MANY):
            part = [int(number) for number in numbers[at : at + _MANY]]
            rows += self._rows(f"{statement} ({', '.join('?' * len(part))})", part)
        return rows

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """SQLite's errors, and the file system's, as ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._named(error) from error
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from error

    def _named(self, error: sqlite3.Error) -> SearchError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            return self._unwritable(str(error))
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return IndexBusy("another process has been writing to it for half a minute", hint="Wait for it.", source=self.path)
        return self._damaged(str(error))

    def _unwritable(self, why: str) -> IndexUnwritable:
        detail = f"could not be written ({why}); the index is as it was before"
        return IndexUnwritable(
            detail, hint="Make room on the disk, or rights to write; then give the same command again.", source=self.path
        )

    def _damaged(self, why: str) -> IndexDamaged:
        return IndexDamaged(f"is not the database of an index, or damaged ({why})", hint="Make the index anew.", source=self.path)


def _file(path: Path) -> tuple[int, int]:
    """Which file has the name; `_ABSENT` where none has."""
    try:
        status = path.stat()
    except OSError:
        return _ABSENT
    return status.st_dev, status.st_ino


def _meets_journal(error: sqlite3.Error) -> bool:
    """Whether a reader met what a killed writer left, or a writer on the file that has taken the place of the reader's."""
    return getattr(error, "sqlite_errorcode", 0) in (_READONLY_ROLLBACK, _READONLY_CANTLOCK)


def _private(path: Path) -> None:
    """Make the file before SQLite does, which gives its journal the same rights; on one of another user they stay as they are."""
    with suppress(PermissionError):
        make_private(path)

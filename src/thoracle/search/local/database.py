"""The truth of an index: one SQLite file of records, latents, thumbnails and full text.

Each change is one transaction, under a rollback journal: before 3.51.3 SQLite's WAL can damage what several processes write
(docs/decisions/0030-search-index.md). A killed process leaves the old state or the new one.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from thoracle.errors import IndexBusy, IndexDamaged, IndexMissing, IndexUnwritable, SearchError
from thoracle.search.keywords import Keywords
from thoracle.search.local.schema import COLUMNS, REPORT_COLUMNS, SCHEMA, TEXT_TABLES, matching_ids, ranked, to_record, to_row
from thoracle.search.local.schema import where as as_sql
from thoracle.search.local.vectors import Vectors, gather
from thoracle.search.record import Filters, IndexedVolume, LatentArray, Record

_WAIT: Final = 30.0  # seconds for another process's transaction
_MANY: Final = 500  # parameters of one statement


class Database:
    """Hold one SQLite connection. Ids are never used twice: an id stands for its first record or for none.

    Raises:
        IndexMissing, IndexDamaged, IndexBusy, IndexUnwritable: as they say; so do all methods.
    """

    def __init__(self, path: Path, *, write: bool = False) -> None:
        if not write and not path.is_file():
            raise IndexMissing("holds no index", hint="Make one: thoracle index COHORT --model MODEL --out INDEX.", source=path.parent)
        self.path = path
        with self._faults():
            uri = f"file:{quote(str(path))}?mode={'rwc' if write else 'rw'}"
            self._connection = sqlite3.connect(uri, uri=True, timeout=_WAIT, isolation_level=None, check_same_thread=False)
            reading = ("query_only = ON", "cache_size = -65536")
            writing = ("journal_mode = DELETE", "synchronous = EXTRA", "secure_delete = ON")
            for pragma in writing if write else reading:
                self._connection.execute(f"PRAGMA {pragma}")
            if write and not self._rows("SELECT 1 FROM sqlite_schema WHERE name = 'words'"):
                with self.change():
                    for statement in SCHEMA:
                        self._connection.execute(statement)

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
        return int(self._rows("SELECT count(*) FROM record")[0][0])

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

    def vectors(self, *, dim: int) -> Vectors:
        """Return all vectors of one state."""
        with self._faults():
            self._connection.execute("BEGIN")
            try:
                count = int(self._rows("SELECT count(*) FROM vector")[0][0])
                return gather(self.state, self._connection.execute("SELECT id, latent FROM vector ORDER BY id"), count=count, dim=dim)
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
        if verdict != "ok" or len(set(counts)) != 1:
            numbers = "{:,} records, {:,} of {:,} latents and {:,} of {:,} reports are theirs".format(*counts)
            raise self._damaged(verdict if verdict != "ok" else numbers)
        with self._faults():
            self._connection.execute("PRAGMA query_only = OFF")  # the check is worded as an insertion
            for table in TEXT_TABLES:
                self._connection.execute(f"INSERT INTO {table}({table}, rank) VALUES ('integrity-check', 1)")

    # What changes it; inside `change`

    def put(self, key: str, value: str | None) -> None:
        """Store a note; None removes it."""
        if value is None:
            self._connection.execute("DELETE FROM meta WHERE key = ?", [key])
        else:
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, value])

    def add(self, additions: Sequence[IndexedVolume]) -> list[int]:
        """Add records and return their ids; each takes the place of a record of the same volume."""
        numbers = []
        for addition in additions:
            self._connection.execute("DELETE FROM record WHERE volume = ?", [addition.record.volume])
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
        return numbers

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete rows, latents, thumbnails, and the words out of the full text: before SQLite 3.42 they stay in its segments until these
        merge.
        """
        self._connection.executemany("DELETE FROM record WHERE id = ?", ([number] for number in numbers))
        for table in TEXT_TABLES:
            self._connection.execute(f"INSERT INTO {table}({table}) VALUES ('optimize')")

    def compact(self) -> None:
        """Write every page anew, outside a transaction: balancing trees leaves copies in free space, which deleting does not find."""
        with self._faults():
            self._connection.execute("VACUUM")

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._faults():
            return self._connection.execute(statement, values).fetchall()

    def _ids(self, conditions: Mapping[str, str], *, columns: Collection[str]) -> list[int]:
        assert set(columns) <= set(COLUMNS), "columns, not what a user typed"
        statement = f"SELECT id FROM record WHERE {' AND '.join(conditions)} ORDER BY id"
        return [row[0] for row in self._rows(statement, list(conditions.values()))]

    def _in(self, statement: str, numbers: Sequence[int]) -> list[Any]:
        rows = []
        for at in range(0, len(numbers), _MANY):
            part = [int(number) for number in numbers[at : at + _MANY]]
            rows += self._rows(f"{statement} ({', '.join('?' * len(part))})", part)
        return rows

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """SQLite's errors as ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._named(error) from error

    def _named(self, error: sqlite3.Error) -> SearchError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            detail = f"could not be written ({error}); the index is as it was before"
            return IndexUnwritable(
                detail, hint="Make room on the disk, or rights to write; then give the same command again.", source=self.path
            )
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return IndexBusy("another process has been writing to it for half a minute", hint="Wait for it.", source=self.path)
        return self._damaged(str(error))

    def _damaged(self, why: str) -> IndexDamaged:
        return IndexDamaged(f"is not the database of an index, or damaged ({why})", hint="Make the index anew.", source=self.path)

"""A connection to an index's SQLite file: transactions, notes, and readers that follow the file where another takes its place.

Each change is one transaction, under a rollback journal: before 3.51.3 SQLite's WAL can damage what several processes write
(docs/decisions/0030-search-index.md). A killed process leaves the old state or the new one.

A file that is written anew takes the place of the old one (docs/decisions/0035-growing-and-erasing.md). Readers therefore look whether
theirs is still the file, and open it so that they cannot take another file's journal for its own.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from thoracle.errors import IndexBusy, IndexDamaged, IndexUnwritable, SearchError
from thoracle.files.atomic import flush_to_disk, make_private
from thoracle.files.lock import exclusive_lock

_WAIT: Final = 30.0  # seconds for another process's transaction
_MANY: Final = 500  # parameters of one statement
_PAUSE: Final = 0.05  # seconds between looks at a journal that another process is about to remove
_ABSENT: Final = (0, 0)
_READONLY_ROLLBACK: Final = sqlite3.SQLITE_READONLY_ROLLBACK
_READONLY_CANTLOCK: Final = sqlite3.SQLITE_READONLY_CANTLOCK
_READING: Final = ("query_only = ON", "cache_size = -65536", "temp_store = MEMORY")
_WRITING: Final = ("journal_mode = DELETE", "synchronous = EXTRA", "secure_delete = ON", "temp_store = MEMORY")


class Connection:
    """Hold one SQLite connection to a file that has a table `meta` of notes.

    Raises:
        IndexDamaged, IndexBusy, IndexUnwritable: as they say; so do all methods.
    """

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self.path, self._write = path, write
        with self.faults():
            if write:
                _private(path)
            self._connection, self._file = self._connect()

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

    def replace(self, temporary: Path) -> None:
        """Put another file in the place of this one, and go on with that."""
        flush_to_disk(temporary)
        self._connection.close()
        try:
            temporary.replace(self.path)
        finally:
            self._connection, self._file = self._connect()
        flush_to_disk(self.path.parent)

    @contextmanager
    def change(self) -> Iterator[None]:
        """Run one transaction: on the disk at its end, or without effect."""
        with self.faults():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.put("state", secrets.token_hex(8))
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Hold one state for several statements."""
        with self.faults():
            self._reconnect_where_replaced()
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("COMMIT")

    # Notes

    @property
    def state(self) -> str:
        """Return 16 characters that change with each change."""
        return self.get("state") or ""

    def get(self, key: str) -> str | None:
        """Return a note by key."""
        rows = self.rows("SELECT value FROM meta WHERE key = ?", [key])
        return str(rows[0][0]) if rows else None

    def put(self, key: str, value: str | None) -> None:
        """Store a note, inside `change`; None removes it."""
        if value is None:
            self._connection.execute("DELETE FROM meta WHERE key = ?", [key])
        else:
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, value])

    # Statements

    def execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run a statement as it is, inside `change` or `faults`."""
        return self._connection.execute(statement, values)

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return all rows of a query."""
        with self.faults():
            self._reconnect_where_replaced()
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.OperationalError as error:
                if not _meets_journal(error) or self._connection.in_transaction:
                    raise
            self._connection, self._file = self._connect()
            return self._connection.execute(statement, values).fetchall()

    def rows_in(self, statement: str, numbers: Sequence[int]) -> list[Any]:
        """Return all rows of a query that ends in `IN`, for these numbers."""
        rows = []
        for at in range(0, len(numbers), _MANY):
            part = [int(number) for number in numbers[at : at + _MANY]]
            rows += self.rows(f"{statement} ({', '.join('?' * len(part))})", part)
        return rows

    def open_writable(self) -> closing[sqlite3.Connection]:
        """Open another connection, which may write whatever this one may."""
        return closing(sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None))

    def _roll_back(self) -> None:
        """Let a connection that may write roll back what a killed writer left; wait where there is a writer, which is alive."""
        try:
            with (
                exclusive_lock(self.path.parent, refusal=IndexBusy, detail="another process is changing this index"),
                self.open_writable() as connection,
            ):
                connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
        except IndexBusy:
            time.sleep(_PAUSE)

    def _reconnect_where_replaced(self) -> None:
        """Open the file that has taken the place of the one that a reader has opened, which closes when no thread reads it any more."""
        if not self._write and not self._connection.in_transaction and _file(self.path) not in (self._file, _ABSENT):
            self._connection, self._file = self._connect()

    # Errors

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Raise SQLite's errors, and the file system's, as ours."""
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
        return self.damaged(str(error))

    def _unwritable(self, why: str) -> IndexUnwritable:
        detail = f"could not be written ({why}); the index is as it was before"
        return IndexUnwritable(
            detail, hint="Make room on the disk, or rights to write; then give the same command again.", source=self.path
        )

    def damaged(self, why: str) -> IndexDamaged:
        """Build the error of a file that is no index, or damaged."""
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

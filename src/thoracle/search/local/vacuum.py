"""A database written anew beside itself, so that no byte of what was deleted or replaced is left in it."""

from __future__ import annotations

from typing import Final

from thoracle.files.atomic import make_private, temporary_beside
from thoracle.search.local.connection import Connection
from thoracle.search.local.schema import TEXT_TABLES

_MERGED: Final = (16, 500)  # pages of full text merged in one transaction, a hundredth of the file between them: so much may the file grow
_MERGES: Final = 100


def rewrite(connection: Connection) -> None:
    """Remove every byte of what was deleted or replaced; it takes as much room in the file's folder as the file has.

    Words of deleted reports stay in segments of the full text until these merge, and balanced trees leave copies in free space. So
    segments are merged, a little at a time, every page is written anew beside the file, and the new file takes its place.

    Raises:
        IndexUnwritable: the disk is full, or the file cannot be replaced; the database is sound, and may hold such bytes.
    """
    temporary = temporary_beside(connection.path)
    try:
        with connection.faults():
            for table in TEXT_TABLES:
                _merge(connection, table)
            make_private(temporary)
            connection.execute("VACUUM INTO ?", [str(temporary)])
            connection.replace(temporary)
    finally:
        for left in temporary.parent.glob(f"{temporary.name}*"):  # its journal too, where there was no room
            left.unlink(missing_ok=True)


def _merge(connection: Connection, table: str) -> None:
    """All segments of a full text into one: a negative number of pages marks them, positive ones go on, until nothing changes."""
    least, most = _MERGED
    step = max(least, min(most, int(connection.rows("PRAGMA page_count")[0][0]) // _MERGES))
    pages = -step
    while True:
        before = _changes(connection)
        connection.execute(f"INSERT INTO {table}({table}, rank) VALUES ('merge', ?)", [pages])
        if pages > 0 and _changes(connection) - before < 2:
            return
        pages = step


def _changes(connection: Connection) -> int:
    """How many rows the connection has changed since it was opened."""
    return int(connection.rows("SELECT total_changes()")[0][0])

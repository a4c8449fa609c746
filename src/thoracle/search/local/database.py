"""The truth of an index: one SQLite file of records, latents, thumbnails and full text (docs/decisions/0030-search-index.md)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from thoracle.errors import IndexMissing
from thoracle.search.keywords import Keywords
from thoracle.search.local.connection import Connection
from thoracle.search.local.schema import COLUMNS, REPORT_COLUMNS, SCHEMA, TEXT_TABLES, matching_ids, ranked, to_record, to_row
from thoracle.search.local.schema import where as as_sql
from thoracle.search.local.vectors import IdLatents
from thoracle.search.record import Filters, IndexedVolume, LatentArray, Record

#: The database's name in an index's folder.
DATABASE: Final = "index.sqlite"
#: The note that says that something was deleted and is not erased.
ERASING: Final = "erasing"
_COUNT: Final = "count"


class Database(Connection):
    """Hold records, latents, thumbnails and full text. Ids are never used twice: an id stands for its first record or for none.

    Raises:
        IndexMissing: there is no file, and it is opened for reading.
    """

    def __init__(self, path: Path, *, write: bool = False) -> None:
        if not write and not path.is_file():
            raise IndexMissing("holds no index", hint="Make one: thoracle index COHORT --model MODEL --out INDEX.", source=path.parent)
        super().__init__(path, write=write)
        if write and not self.rows("SELECT 1 FROM sqlite_schema WHERE name = 'words'"):
            with self.change():
                for statement in SCHEMA:
                    self.execute(statement)
                self.put(_COUNT, "0")

    # What is there

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings that the index was created with; empty before that."""
        values: dict[str, Any] = json.loads(self.get("settings") or "{}")
        return values

    def __len__(self) -> int:
        return int(self.get(_COUNT) or 0)

    def records(self, numbers: Sequence[int]) -> dict[int, Record]:
        """Return records by id; absent ids are left out."""
        records: dict[int, Record] = {}
        columns = ", ".join(("id", *COLUMNS, *REPORT_COLUMNS))
        for row in self.rows_in(f"SELECT {columns} FROM record JOIN report USING (id) WHERE id IN", numbers):
            records[row[0]] = to_record(row[1:])
        return records

    def latents(self, numbers: Sequence[int]) -> LatentArray:
        """Return (n, L), in order of id."""
        rows = self.rows_in("SELECT latent, id FROM vector WHERE id IN", numbers)
        return np.stack([np.frombuffer(latent, "<f4") for latent, _ in sorted(rows, key=lambda row: int(row[1]))])

    def thumbnails(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """Return PNGs, by id; those that are there."""
        return dict(self.rows_in("SELECT id, png FROM thumbnail WHERE id IN", numbers))

    def latents_after(self, number: int) -> IdLatents:
        """Iterate over ids above this one, in order, and their latents, while nothing else is done with the database."""
        with self.faults():
            yield from self.execute("SELECT id, latent FROM vector WHERE id > ? ORDER BY id", [number])

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
        return [row[0] for row in self.rows(f"SELECT id FROM record WHERE {condition} ORDER BY id", values)]

    def matching_records(self, query: Keywords | None, *, filters: Filters) -> list[Record]:
        """Return records that match and pass, in order of id, without their reports."""
        condition, values = as_sql(filters)
        if query is not None:
            ids, more = matching_ids(query)
            condition, values = f"{condition} AND id IN ({ids})", [*values, *more]
        return [to_record(row) for row in self.rows(f"SELECT {', '.join(COLUMNS)} FROM record WHERE {condition} ORDER BY id", values)]

    def search(self, query: Keywords, *, k: int, filters: Filters) -> list[tuple[int, float]]:
        """List ids of records whose reports match, best first by BM25, and its value: larger is better."""
        statement, values = ranked(query, filters)
        return [(int(number), float(score)) for number, score in self.rows(f"{statement} LIMIT ?", [*values, k])]

    def check(self) -> None:
        """Check that rows, latents and full text agree, and the file is sound.

        Raises:
            IndexDamaged: they do not.
        """
        verdict = self.rows("PRAGMA integrity_check(1)")[0][0]
        tables = ("record", "vector JOIN record USING (id)", "vector", "report JOIN record USING (id)", "report")
        counts = [self.rows(f"SELECT count(*) FROM {table}")[0][0] for table in tables]
        if verdict != "ok" or len({*counts, len(self)}) != 1:
            numbers = "{:,} records, {:,} of {:,} latents and {:,} of {:,} reports are theirs".format(*counts)
            raise self.damaged(verdict if verdict != "ok" else f"{numbers}, {len(self):,} were counted")
        with self.faults(), self.open_writable() as connection:
            for table in TEXT_TABLES:  # the check is worded as an insertion
                connection.execute(f"INSERT INTO {table}({table}, rank) VALUES ('integrity-check', 1)")

    # What changes it; inside `change`

    def add(self, additions: Sequence[IndexedVolume]) -> list[int]:
        """Add records and return their ids; each takes the place of a record of the same volume, whose bytes stay until `rewrite`."""
        numbers, replaced = [], 0
        for addition in additions:
            replaced += self.execute("DELETE FROM record WHERE volume = ?", [addition.record.volume]).rowcount
            marks = ", ".join("?" * len(COLUMNS))
            statement = f"INSERT INTO record({', '.join(COLUMNS)}) VALUES ({marks})"
            number = self.execute(statement, to_row(addition.record)).lastrowid
            assert number is not None, "it was inserted"
            report = addition.record.report
            self.execute("INSERT INTO report VALUES (?, ?, ?)", [number, report.findings, report.impression])
            self.execute("INSERT INTO vector VALUES (?, ?)", [number, np.ascontiguousarray(addition.latent_L, "<f4").tobytes()])
            if addition.thumbnail:
                self.execute("INSERT INTO thumbnail VALUES (?, ?)", [number, addition.thumbnail])
            numbers.append(number)
        self.put(_COUNT, str(len(self) + len(numbers) - replaced))
        if replaced:
            self.put(ERASING, "1")
        return numbers

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete rows, latents, thumbnails and words. Bytes of them stay until `rewrite`."""
        deleted = self._connection.executemany("DELETE FROM record WHERE id = ?", ([number] for number in numbers)).rowcount
        self.put(_COUNT, str(len(self) - max(0, deleted)))
        self.put(ERASING, "1")

    def _ids(self, conditions: Mapping[str, str], *, columns: Collection[str]) -> list[int]:
        assert set(columns) <= set(COLUMNS), "columns, not what a user typed"
        statement = f"SELECT id FROM record WHERE {' AND '.join(conditions)} ORDER BY id"
        return [row[0] for row in self.rows(statement, list(conditions.values()))]

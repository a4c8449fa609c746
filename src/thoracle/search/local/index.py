"""An index in a folder: the database, and beside it what is made of it, vectors and approximate lists.

Readers hold no lock: they compare the state of the database with that of the files, and where these are behind, they go without them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from thoracle.errors import IndexBusy, IndexMismatch, IndexUnwritable, InputError
from thoracle.files.atomic import TEMPORARY
from thoracle.files.lock import exclusive_lock
from thoracle.files.run_settings import check_settings
from thoracle.search.backend import SCHEMA, Matches
from thoracle.search.keywords import Keywords
from thoracle.search.local import faiss_lists as approximate
from thoracle.search.local.database import Database
from thoracle.search.local.faiss_lists import FaissIvf
from thoracle.search.local.vectors import Vectors, nearest, read_vectors, write_vectors
from thoracle.search.record import Filters, IndexedVolume, LatentArray, Record

DATABASE: Final = "index.sqlite"
VECTORS: Final = "vectors.bin"
_ERASING: Final = "erasing"


class LocalIndex:
    """Open a folder's index for reading, and for writing too by `open_for_writing`.

    Raises:
        IndexMissing: there is none.
        IndexMismatch: it is of another schema.
    """

    def __init__(self, folder: Path, *, write: bool = False) -> None:
        self.folder = folder
        self._database = Database(folder / DATABASE, write=write)
        self._settings = self._database.settings
        if self._settings and self._settings.get("schema") != SCHEMA:
            self._database.close()
            detail = f"is of schema {str(self._settings.get('schema'))[:40]}, where {SCHEMA} was expected"
            raise IndexMismatch(detail, hint="Make it anew with `thoracle index COHORT --model MODEL` and another --out.", source=folder)
        self._vectors: Vectors | None = None
        self._approximate: FaissIvf | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return the index's settings."""
        return self._settings

    def __len__(self) -> int:
        return len(self._database)

    @property
    def recall(self) -> float | None:
        """Return the recall of the approximate lists, where they are used; None where search is exact."""
        self.vectors()
        return None if self._approximate is None else self._approximate.notes.recall

    def vectors(self) -> Vectors:
        """Return the vectors of the database's state: mapped from the file, or read from the database where the file is behind."""
        state = self._database.state
        if self._vectors is None or self._vectors.state != state:
            self._vectors = read_vectors(self.folder / VECTORS, state=state) or self._database.vectors(dim=self._dim)
            self._approximate = approximate.read(self.folder, self._vectors)
        return self._vectors

    def vector_search(
        self, latent_L: LatentArray, *, k: int, filters: Filters, exact: bool = False, without: Keywords | None = None
    ) -> Matches:
        """Search by vector; exact where filters or words apply, and where the probed approximate lists hold fewer than k."""
        vectors = self.vectors()
        if self._approximate is not None and not exact and not filters and without is None:
            rows, products = self._approximate.nearest(latent_L, k=k)
            if len(rows) >= min(k, len(vectors.ids)):
                return list(zip(vectors.ids[rows].tolist(), products.tolist(), strict=True))
        keep = None
        if filters or without is not None:
            keep = np.zeros(len(vectors.ids), bool)
            keep[vectors.rows(np.array(self._database.matching(filters, without=without), np.int64))] = True
        ((rows, products),) = nearest(vectors.array, latent_L[None], k=k, keep=keep)
        return list(zip(vectors.ids[rows].tolist(), products.tolist(), strict=True))

    def keyword_search(self, query: Keywords, *, k: int, filters: Filters) -> Matches:
        """Search reports by keywords."""
        return self._database.search(query, k=k, filters=filters)

    def matching_records(self, query: Keywords | None, *, filters: Filters) -> list[Record]:
        """Return all records that match and pass, without their reports."""
        return self._database.matching_records(query, filters=filters)

    def records(self, numbers: Sequence[int]) -> dict[int, Record]:
        """Return records by id."""
        return self._database.records(numbers)

    def latents(self, numbers: Sequence[int]) -> LatentArray:
        """Return latents by id."""
        return self._database.latents(numbers)

    def thumbnails(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """Return thumbnails by id."""
        return self._database.thumbnails(numbers)

    def ids_where(self, **values: str) -> list[int]:
        """List ids of records with these values."""
        return self._database.find(**values)

    def ids_ending(self, **endings: str) -> list[int]:
        """List ids of records whose names end so."""
        return self._database.find_endings(**endings)

    def ids(self) -> list[int]:
        """List all ids, in order."""
        return self._database.matching(Filters())

    def add(self, additions: Sequence[IndexedVolume]) -> None:
        """Add volumes to the folder.

        Raises:
            InputError: a latent of another width, or that is not finite.
        """
        for addition in additions:
            if addition.latent_L.shape != (self._dim,) or not np.isfinite(addition.latent_L).all():
                raise InputError(f"expected {self._dim} finite numbers as a latent, got {addition.latent_L.shape}", hint="Encode it again.")
        with self._database.change():
            self._database.add(additions)

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete records. A process killed on the way leaves the records, or the erasing to the next writer."""
        with self._database.change():
            self._database.delete(numbers)
            self._database.put(_ERASING, "1")
        self._erase()

    def refresh(self, *, lists: bool | None = None) -> None:
        """Make the files of the database as it is, where they are behind.

        Args:
            lists: also the approximate lists; by default where there were some, and above a size, if FAISS is there.

        Raises:
            ExtraMissing: lists are asked for, and FAISS is not there.
            IndexUnwritable: the disk is full.
        """
        with self._writes():
            if len(self) and read_vectors(self.folder / VECTORS, state=self._database.state) is None:
                write_vectors(self.folder / VECTORS, self._database.vectors(dim=self._dim))
                self._vectors = None
            if not len(self):
                (self.folder / VECTORS).unlink(missing_ok=True)
            if lists is None:
                approximate_exists = (self.folder / approximate.NOTES).exists()
                lists = approximate.installed() and (approximate_exists or len(self) >= approximate.WORTH_IT)
            if not lists or not len(self):
                approximate.remove(self.folder)
            elif approximate.read(self.folder, self.vectors()) is None:
                approximate.write(self.folder, approximate.build(self.vectors()))
            self._vectors = None

    def check(self) -> None:
        """Check that rows, latents, full text and the database's pages agree.

        Raises:
            IndexDamaged: they do not.
        """
        self._database.check()

    def close(self) -> None:
        """Let go of the files."""
        self._database.close()

    @property
    def _dim(self) -> int:
        return int(self._settings["dim_latent"])

    def _begin(self, settings: Mapping[str, Any] | None) -> None:
        """Settings of a new index, or as it was begun; then finish what a killed process left."""
        before = self._database.settings
        if settings is not None:
            requested = {"schema": SCHEMA, **settings}
            if before:
                hint = "Vectors of both cannot be compared: give another --out, or the model and options of that index."
                check_settings(before, settings=requested, refusal=IndexMismatch, hint=hint, source=self.folder)
            else:
                with self._database.change():
                    self._database.put("settings", json.dumps(requested))
        self._settings = self._database.settings
        self._sweep()
        if self._database.get(_ERASING):
            self._erase()

    def _erase(self) -> None:
        self._sweep()
        with self._writes():
            (self.folder / VECTORS).unlink(missing_ok=True)
        had_lists = (self.folder / approximate.NOTES).exists()
        approximate.remove(self.folder)
        self._vectors = self._approximate = None
        self._database.compact()
        with self._database.change():
            self._database.put(_ERASING, None)
        self.refresh(lists=True if had_lists and approximate.installed() else None)

    def _sweep(self) -> None:
        """Take away what killed processes left half-written."""
        for path in self.folder.glob(f".*{TEMPORARY}"):
            path.unlink(missing_ok=True)

    @contextmanager
    def _writes(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            detail = (
                f"files beside the database could not be written ({error.strerror}); the database is whole, and search goes on without them"
            )
            raise IndexUnwritable(detail, hint="Make room on the disk; then: thoracle index check INDEX.", source=self.folder) from error


@contextmanager
def open_for_writing(folder: Path, settings: Mapping[str, Any] | None = None, *, lists: bool | None = None) -> Iterator[LocalIndex]:
    """Open an index that this process alone may change; at the end its files are made anew.

    Args:
        folder: made where `settings` are given.
        settings: what its vectors depend on (`IndexBackend.settings`); None takes an index as it is.
        lists: as `LocalIndex.refresh`.

    Raises:
        IndexMissing: there is none, and no settings were given.
        IndexMismatch: it was begun with other settings.
        IndexBusy: another process is changing it.
    """
    if settings is None:
        Database(folder / DATABASE).close()
    elif not (folder / DATABASE).exists() and folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise InputError("is not empty and holds no index", hint="Give a new --out.", source=folder)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder, refusal=IndexBusy, detail="another process is changing this index"):
        index = LocalIndex(folder, write=True)
        try:
            index._begin(settings)
            yield index
            index.refresh(lists=lists)
        finally:
            index.close()

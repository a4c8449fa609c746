"""An index in a folder: the database, and beside it what is made of it, vectors and approximate lists.

Readers hold no lock. An id stands for one latent for ever, so they take from the files what these have, and the rest from the database.
A session of a writer ends with erasing what it deleted or replaced, or a session before it could not erase.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from thoracle.errors import IndexBusy, IndexMismatch, IndexUnwritable, InputError
from thoracle.files.atomic import TEMPORARY, make_private_folder
from thoracle.files.lock import exclusive_lock
from thoracle.files.run_settings import check_settings
from thoracle.search.backend import SCHEMA, Matches
from thoracle.search.keywords import Keywords
from thoracle.search.local import faiss_lists as approximate
from thoracle.search.local.database import DATABASE, ERASING, Database
from thoracle.search.local.erasure import erase_bytes
from thoracle.search.local.faiss_lists import FaissIvf
from thoracle.search.local.filter_masks import FilterMasks
from thoracle.search.local.snapshot import is_consistent, read_vectors
from thoracle.search.local.vectors import (
    VECTORS,
    VectorFile,
    Vectors,
    append_vectors,
    read_vector_file,
    remove_vectors,
    write_vector_file,
)
from thoracle.search.record import Filters, IndexedVolume, LatentArray, Record, check_latents

#: Encodes texts as they are looked for, for approximate lists to be tuned on: takes reports, and returns an array (T, L) of each kind.
TextEncoder = Callable[[Sequence[str]], Sequence[LatentArray]]
_REPORTS: Final = 128  # of the index, for lists to be tuned on
_WASTE: Final = 4  # the file of vectors is written anew once more than one row in so many is erased


class LocalIndex:
    """Open a folder's index for reading, and for writing too by `open_for_writing`.

    Raises:
        IndexMissing: there is none.
        IndexMismatch: it is of another schema.
    """

    def __init__(self, folder: Path, *, write: bool = False) -> None:
        self.folder, self._write = folder, write
        self._database = Database(folder / DATABASE, write=write)
        self._settings = self._database.settings
        if self._settings and self._settings.get("schema") != SCHEMA:
            self._database.close()
            detail = f"is of schema {str(self._settings.get('schema'))[:40]}, where {SCHEMA} was expected"
            raise IndexMismatch(detail, hint="Make it anew with `thoracle index COHORT --model MODEL` and another --out.", source=folder)
        self._vectors: Vectors | None = None
        self._approximate: FaissIvf | None = None
        self._masks = FilterMasks(self._database)

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
        return None if self._approximate is None else self._approximate.info.recall

    def vectors(self) -> Vectors:
        """Return the vectors of the database's state: mapped from the file, and from the database what the file does not have yet."""
        if self._vectors is None or self._vectors.state != self._database.state:
            self._vectors = read_vectors(self._database, self._stored(), dim=self._dim)
            self._approximate = approximate.read(self.folder, self._vectors, before=self._approximate)
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
        keep = self._masks.passing(vectors, filters, without=without) if filters or without is not None else None
        ((rows, products),) = vectors.nearest(latent_L[None], k=k, keep=keep)
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
            InputError: a latent of another width, that is not finite, or zero.
        """
        check_latents(additions, dim=self._dim)
        with self._database.change():
            self._database.add(additions)
        with suppress(OSError):  # the end of the session tries again, and says so
            self._append()

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete records: they are not found any more. Their bytes are erased at the end of the session, or of a later one."""
        with self._database.change():
            self._database.delete(numbers)

    def refresh(self, *, lists: bool | None = None, texts: TextEncoder | None = None) -> None:
        """Write to the files what they lack of the database.

        Args:
            lists: also the approximate lists; by default where there were some, and above a size, if FAISS is there.
            texts: as in `open_for_writing`.

        Raises:
            ExtraMissing: lists are asked for, and FAISS is not there.
            IndexUnwritable: the disk is full.
        """
        with self._writes():
            self._append()
            if not len(self):
                remove_vectors(self.folder / VECTORS)
            if lists is None:
                had_lists = (self.folder / approximate.NOTES).exists()
                lists = approximate.installed() and (had_lists or len(self) >= approximate.WORTH_IT)
            if not lists or not len(self):
                approximate.remove(self.folder)
            else:
                approximate.renew(self.folder, self.vectors(), texts=lambda: self._encoded(texts))
            self._vectors = None

    def check(self) -> None:
        """Check that rows, latents, full text and the database's pages agree, and that the file of vectors holds what was written; a writer
        makes it again where it does not.

        Raises:
            IndexDamaged: the database does not agree.
        """
        self._database.check()
        stored = self._stored()
        if stored is not None and len(stored.damaged_rows()) and self._write:
            with self._writes():
                remove_vectors(self.folder / VECTORS)

    def finish(self, *, lists: bool | None = None, texts: TextEncoder | None = None) -> None:
        """Remove the bytes of what was deleted, and write to the files what they lack, as `open_for_writing` does at its end.

        Raises:
            As `refresh`, and:
            ErasurePending: some bytes could not be erased; the files are up to date.
        """
        try:
            self._erase()
        finally:
            self.refresh(lists=lists, texts=texts)

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
                hint = "Give another --out, or that index's model and options (of its key: --site-key, or --keep-identifiers)."
                check_settings(before, settings=requested, refusal=IndexMismatch, hint=hint, source=self.folder)
            else:
                with self._database.change():
                    self._database.put("settings", json.dumps(requested))
        self._settings = self._database.settings
        self._sweep()

    def _stored(self) -> VectorFile | None:
        return read_vector_file(self.folder / VECTORS, dim=self._dim)

    def _append(self) -> None:
        """Give the file of vectors the rows that it lacks; make it anew where it is none of this database, or mostly of erased rows."""
        path, stored = self.folder / VECTORS, self._stored()
        if stored is None or not is_consistent(self._database, stored) or _WASTE * int((~stored.live).sum()) > len(stored.ids):
            write_vector_file(path, self._database.latents_after(0), dim=self._dim)
        else:
            append_vectors(path, stored, self._database.latents_after(stored.last_id))

    def _encoded(self, texts: TextEncoder | None) -> Sequence[LatentArray]:
        """Texts as they are looked for, some of the index's own reports among them; nothing of them is kept."""
        if texts is None:
            return ()
        ids = self.ids()
        records = self.records(ids[:: max(1, len(ids) // _REPORTS)][:_REPORTS])
        return texts([text for record in records.values() if (text := record.report.text("both"))])

    def _erase(self) -> None:
        """Erase what was deleted or replaced, file by file.

        Raises:
            ErasurePending: some file could not be written; the others are erased.
        """
        if self._database.get(ERASING) is None:
            return
        lists = approximate.read(self.folder, self.vectors())
        erase_bytes(self.folder, self._database, dim=self._dim)
        with self._database.change():
            self._database.put(ERASING, None)
        self._vectors = None
        if lists is not None:
            with self._writes():
                approximate.write(self.folder, lists.without(self.vectors()))

    def _sweep(self) -> None:
        """Take away what killed processes left half-written."""
        for path in self.folder.glob(f".*{TEMPORARY}*"):
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
def open_for_writing(
    folder: Path, settings: Mapping[str, Any] | None = None, *, lists: bool | None = None, texts: TextEncoder | None = None
) -> Iterator[LocalIndex]:
    """Open an index that this process alone may change; at the end its files are brought up to it, and what was deleted is erased.

    Args:
        folder: made, for its owner alone, where `settings` are given.
        settings: what its vectors depend on (`IndexBackend.settings`); None takes an index as it is.
        lists: as `LocalIndex.refresh`.
        texts: encodes texts, where approximate lists are made or grow.

    Raises:
        IndexMissing: there is none, and no settings were given.
        IndexMismatch: it was begun with other settings.
        IndexBusy: another process is changing it.
        ErasurePending: all that was asked for is done, but for bytes that could not be erased.
    """
    if settings is None:
        Database(folder / DATABASE).close()
    elif not (folder / DATABASE).exists() and folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise InputError("is not empty and holds no index", hint="Give a new --out.", source=folder)
    make_private_folder(folder)
    with exclusive_lock(folder, refusal=IndexBusy, detail="another process is changing this index"):
        index = LocalIndex(folder, write=True)
        try:
            index._begin(settings)
            yield index
            index.finish(lists=lists, texts=texts)
        finally:
            index.close()

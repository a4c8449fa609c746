"""Define what the engine asks of an index, whether a folder or a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from thoracle.search.keywords import Keywords
from thoracle.search.record import Filters, IndexedVolume, LatentArray, Record

#: What an index keeps and how; an index of another is refused, and is made anew in minutes.
SCHEMA: Final = "thoracle.index/4"

#: Ids of records and what they scored, best first; larger is better.
Matches = list[tuple[int, float]]


class IndexBackend(Protocol):
    """Store records with latents of unit norm and full text."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return what the vectors depend on, as `Model.settings` has it, `dim_latent`, and `key`: the fingerprint of the site key, or
        None.
        """

    def __len__(self) -> int: ...

    def vector_search(
        self, latent_L: LatentArray, *, k: int, filters: Filters, exact: bool = False, without: Keywords | None = None
    ) -> Matches:
        """List records by dot product: k, or all that pass and whose reports do not match `without`; with `exact`, none is missed."""

    def keyword_search(self, query: Keywords, *, k: int, filters: Filters) -> Matches:
        """List records whose reports match, by BM25."""

    def matching_records(self, query: Keywords | None, *, filters: Filters) -> list[Record]:
        """Return all records that match and pass, in order of id, without their reports."""

    def records(self, numbers: Sequence[int]) -> dict[int, Record]:
        """Return records by id; absent ids are left out."""

    def latents(self, numbers: Sequence[int]) -> LatentArray:
        """Return (n, L) of the ids that exist, in order of id."""

    def thumbnails(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """Return PNGs by id; those that have one."""

    def ids_where(self, **values: str) -> list[int]:
        """List ids, in order, of records with these values of `volume`, `scan`, `accession`, `patient`, `source_sha256`, `voxels_sha256`
        or `report_sha256`.
        """

    def ids_ending(self, **endings: str) -> list[int]:
        """List ids, in order, of records whose `scan` or `volume` ends so, as pseudonyms do (`SiteKey.endings`)."""

    def ids(self) -> list[int]:
        """List all ids, in order."""

    def add(self, additions: Sequence[IndexedVolume]) -> None:
        """Add volumes, each in place of a record of the same volume; on the disk at return. Raise InputError, and add none, where
        `check_latents` does.
        """

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete records; at return they are not found. A folder's files hold nothing of them once it is closed, a server's once it has
        rewritten its segments.
        """

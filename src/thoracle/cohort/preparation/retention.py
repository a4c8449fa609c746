"""Decide what of an earlier run stands: outcomes that need no work, and volumes whose source is no longer there."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from thoracle.cohort.journal import Journal, VolumeOutcome
from thoracle.cohort.manifest import CACHE, CohortEntry
from thoracle.cohort.sources import VolumeSource
from thoracle.cohort.worker import VOXELS_VERSION
from thoracle.files.atomic import TEMPORARY, sha256
from thoracle.version import __version__


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Look at cached volumes: whether each is as it was written, by its size, and by its SHA-256 where they were hashed.

    Attributes:
        folder: of the cache.
        hashes: by name, of the volumes that could be read; None where sizes are enough.
    """

    folder: Path
    hashes: Mapping[str, str] | None = None

    @classmethod
    def verified(cls, folder: Path, journal: Journal, entries: Sequence[CohortEntry], *, progress: Callable[[int, int], None]) -> Self:
        """Hash every volume of a cache; those that are missing, or that the disk does not give, have no hash.

        Args:
            folder: of the cache.
            journal: names volumes, of scans without a row too.
            entries: rows of the manifest.
            progress: told how many are done, of how many, before the first and after each.
        """
        names = {outcome.cache for outcome in journal.cached.values()} | {_cached_name(entry) for entry in entries}
        hashes = {}
        progress(0, len(names))
        for count, name in enumerate(sorted(names), start=1):
            with suppress(OSError):
                hashes[name] = sha256(folder / name)
            progress(count, len(names))
        return cls(folder=folder, hashes=hashes)

    def holds(self, name: str, *, sha256_hex: str, size: int | None = None) -> bool:
        """Tell whether a file is there, with this size and, if they were hashed, this hash."""
        path = self.folder / name
        try:
            if not path.is_file() or (size is not None and path.stat().st_size != size):
                return False
        except OSError:  # a disk that fails at a cached volume has lost it
            return False
        return self.hashes is None or self.hashes.get(name) == sha256_hex

    def holds_row(self, entry: CohortEntry, outcome: VolumeOutcome | None) -> bool:
        """Tell the same of a row of the manifest, with what the journal knows of its volume."""
        size = outcome.cache_bytes if outcome is not None and outcome.cache_sha256 == entry.cache_sha256 else None
        return self.holds(_cached_name(entry), sha256_hex=entry.cache_sha256, size=size)


def standing_outcome(journal: Journal, source: VolumeSource, stamp: str, *, cache: Cache, retry: bool) -> VolumeOutcome | None:
    """Return what an earlier run made of the same files with the same settings, if it still counts; None where the source is to be read.

    A refusal counts unless its reason may pass, another version of Thoracle made it, or `retry` asks for a new try. What tables refuse is
    judged anew.
    """
    if not stamp or source.error is not None:
        return None
    last, cached = journal.outcomes.get(source.volume), journal.cached.get(source.volume)
    if last is not None and last.error and last.stamp == stamp and not (last.temporary or retry or last.reader != __version__):
        return last
    if cached is None or cached.stamp != stamp:
        return None
    return cached if cache.holds(cached.cache, sha256_hex=cached.cache_sha256, size=cached.cache_bytes) else None


@dataclass(frozen=True, kw_only=True)
class Retained:
    """Hold rows of the last manifest whose volumes cannot be had from the archive now.

    Attributes:
        gone: their source is no longer there.
        unreadable: their source is there, and cannot be read at present.
        prune: those that are gone are not kept.
    """

    gone: tuple[CohortEntry, ...]
    unreadable: tuple[CohortEntry, ...]
    prune: bool

    @property
    def kept(self) -> tuple[CohortEntry, ...]:
        """Return the rows that stay."""
        return self.unreadable if self.prune else self.gone + self.unreadable

    def notes(self, cached: Mapping[str, VolumeOutcome]) -> tuple[str, ...]:
        """Say how many there are and what becomes of them.

        Args:
            cached: the journal's outcomes, by volume.
        """
        notes = []
        if self.gone and self.prune:
            notes.append(f"{len(self.gone):,} volumes are no longer in SRC; removed, as --prune says.")
        elif self.gone:
            notes.append(f"{len(self.gone):,} volumes are no longer in SRC; kept. --prune removes them.")
        if self.unreadable:
            notes.append(f"{len(self.unreadable):,} volumes cannot be read at present; kept as they were.")
        older = sum(entry.volume in cached and cached[entry.volume].voxels_version != VOXELS_VERSION for entry in self.kept)
        if older:
            notes.append(f"{older:,} of the kept were made by another version of the reader; put their scans back to read them again.")
        return tuple(notes)


def retained_rows(
    before: Sequence[CohortEntry],
    listed: Mapping[str, VolumeSource],
    outcomes: Mapping[str, VolumeOutcome],
    *,
    one_per_scan: bool,
    prune: bool,
) -> Retained:
    """Find the rows that an archive gives no more.

    Args:
        before: rows of the last manifest.
        listed: all volumes of the archive, by name.
        outcomes: of those that were chosen, by name; empty before any is read.
        one_per_scan: leave out volumes of scans of which the archive has another.
        prune: do not keep those whose source is no longer there.
    """
    scans = {source.scan for source in listed.values() if not _is_gone(source)} if one_per_scan else set()
    gone, unreadable = [], []
    for entry in before:
        source, outcome = listed.get(entry.volume), outcomes.get(entry.volume)
        if source is None or _is_gone(source):
            if entry.scan not in scans:
                gone.append(entry)
        elif outcome is not None and outcome.error and outcome.temporary:
            unreadable.append(entry)
    return Retained(gone=tuple(gone), unreadable=tuple(unreadable), prune=prune)


def sweep(target: Path, names: Collection[str]) -> None:
    """Remove what killed runs left behind and cached volumes other than these."""
    cached = [path for path in (target / CACHE).glob("*/*") if path.relative_to(target).as_posix() not in names]
    for path in (*cached, *target.glob(f".*{TEMPORARY}")):
        path.unlink()


def cache_notes(*, damaged: int, unlisted: int) -> tuple[str, ...]:
    """Say how many cached volumes were lost or damaged, and how many have no row."""
    notes = []
    if damaged:
        notes.append(f"{damaged:,} cached volumes were missing or damaged; their scans were read again.")
    if unlisted:
        notes.append(
            f"{unlisted:,} cached volumes have no row in the manifest, and their scans are not in SRC; kept. "
            "Put the scans back to take them up, or remove them with --prune."
        )
    return tuple(notes)


def _cached_name(entry: CohortEntry) -> str:
    return entry.cache.removeprefix(f"{CACHE}/")


def _is_gone(source: VolumeSource) -> bool:
    return not os.path.lexists(source.path)

"""Tell, before a scan is read, whether a row of a table may already be its own; and under which name its row stands."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from hashlib import sha256
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Final

from thoracle.ct.formats import DICOM_SUFFIXES
from thoracle.ct.metadata import lookup_metadata
from thoracle.ct.read import Metadata
from thoracle.errors import MetadataError
from thoracle.inference.batch.discover_scans import ScanLocation, longer_names
from thoracle.inference.batch.result_table import ResultTable, RowSource

#: Files that hold all of their scan; others may name a file of voxels elsewhere.
_SELF_CONTAINED: Final = (".nii", ".nii.gz", ".zip", *DICOM_SUFFIXES)
_DIGITS: Final = 32


def expected_source(scan: ScanLocation, *, metadata: Metadata | None, series: str | None) -> RowSource:
    """Return the source of a scan's row without its SHA-256, which reading gives."""
    return RowSource(
        sha256="",
        series=series or "",
        reading=reading_fingerprint(scan, metadata=metadata),
        stamp=source_stamp(scan.path, files=scan.files),
        folder=_folder(scan.path),
    )


def source_stamp(path: Path, *, files: Sequence[Path] = ()) -> str:
    """Hash number, size and times of each file of a scan, or of `files` in a folder of others; "" where they cannot vouch for its bytes.

    The file's number on its disk and the time of its last change of any kind are among them: two files of one size that an archive
    unpacked with one time differ. No name is.
    """
    if not path.is_dir() and not path.name.lower().endswith(_SELF_CONTAINED):
        return ""
    digest = sha256()
    try:
        for file in files or _files(path):
            facts = file.stat()
            digest.update(f"{facts.st_ino}:{facts.st_size}:{facts.st_mtime_ns}:{facts.st_ctime_ns};".encode())
    except OSError:
        return ""
    return digest.hexdigest()[:_DIGITS]


def reading_fingerprint(scan: ScanLocation, *, metadata: Metadata | None) -> str:
    """Hash the metadata row that `read` will take; "" where there is none that can be used, and reading will fail."""
    try:
        row = lookup_metadata(metadata or scan.table, scan.path)
    except MetadataError:
        return ""
    return sha256(json.dumps(None if row is None else asdict(row), sort_keys=True).encode()).hexdigest()[:_DIGITS]


def row_name(scan: ScanLocation, table: ResultTable, source: RowSource) -> str:
    """Choose the name of a scan's row: the scan's own, or a longer one where that is the row of another scan.

    A row is the scan's if it was made of what lay in the same folder; else if it was made of the same bytes. Without a SHA-256 only the
    folder tells.
    """
    taken = list(takewhile(table.sources.__contains__, row_names(scan)))
    own = [name for name in taken if table.sources[name].folder == source.folder]
    equal = [name for name in taken if table.sources[name].sha256 == source.sha256]
    free = islice(row_names(scan), len(taken), None)
    return next(chain(own, equal, free), taken[-1] if taken else scan.name)


def pending_scans(
    scans: Sequence[ScanLocation],
    table: ResultTable,
    *,
    metadata: Metadata | None,
    series: str | None,
    is_complete: Callable[[str], bool] = lambda name: True,
) -> list[ScanLocation]:
    """List the scans to read: all but those whose files are as they were when their row was made, with the same series and metadata row.

    Args:
        scans: as they were discovered.
        table: of the rows.
        metadata, series: as given to `read`.
        is_complete: tells by the row's name whether all else that a row comes with is there.
    """

    def is_done(scan: ScanLocation) -> bool:
        source = expected_source(scan, metadata=metadata, series=series)
        for name in row_names(scan):
            before = table.sources.get(name)
            if before is None:
                return False
            if source.stamp and (before.stamp, before.series, before.reading) == (source.stamp, source.series, source.reading):
                return is_complete(name)
            if before.folder == source.folder:
                return False
        return False

    return [scan for scan in scans if not is_done(scan)]


def row_names(scan: ScanLocation) -> Iterator[str]:
    """Yield what a scan's row may be called, the scan's name first; the last one is its whole path."""
    yield scan.name
    yield from longer_names(scan)


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for directory, below, names in os.walk(path):
        below.sort()
        yield from (Path(directory, name) for name in sorted(names))


def _folder(path: Path) -> str:
    try:
        facts = path.absolute().parent.stat()
    except OSError:
        return ""
    return f"{facts.st_dev:x}-{facts.st_ino:x}"

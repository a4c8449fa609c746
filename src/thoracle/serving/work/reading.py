"""Read uploads, and files of an index's records, in a process without models."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from thoracle.ct.byte_streams import sha256_of
from thoracle.ct.read import read
from thoracle.ct.volume import Volume
from thoracle.errors import InputError
from thoracle.execution.executor import attempt
from thoracle.inference.batch.discover_scans import ScanLocation, find_scans
from thoracle.serving.jobs.worker import JobContext, JobFunction
from thoracle.serving.refusals import error_body
from thoracle.serving.work.results import READING, SeriesRead
from thoracle.serving.work.scan_folder import save_volume, volume_facts
from thoracle.serving.work.upload_scans import find_upload_scans

#: Said of a file that is called as the index's record.
_OTHER_BYTES: Final = "This file has the name of the case, and other bytes than the one that was indexed."


def equip_reader(scans: Path | None) -> tuple[Mapping[str, Mapping[str, JobFunction]], Mapping[str, Any]]:
    """Return the jobs of reading. The facts name the records whose files are in `scans`."""
    locations = {} if scans is None else by_record_name(find_scans([scans]))
    functions: dict[str, JobFunction] = {"read": read_upload, "open": partial(read_record, locations)}
    return {READING: functions}, {"available": frozenset(locations)}


def by_record_name(scans: Sequence[ScanLocation]) -> dict[str, list[ScanLocation]]:
    """Map names by which an index may know scans, names of files and paths below the folder, to those that are called so."""
    locations: dict[str, list[ScanLocation]] = {}
    for scan in scans:
        for name in {scan.name, Path(scan.name).name}:
            locations.setdefault(name, []).append(scan)
    return locations


def read_upload(context: JobContext, *, upload: str, names: Mapping[Path, str], limit: int, out: str) -> list[SeriesRead]:
    """Read every series of an upload into a folder of its own in `out`, and delete the upload.

    Args:
        context: of the job.
        upload: folder of its files.
        names: what the sender called them.
        limit: bytes that its archives may hold.
        out: folder of what is read.

    Raises:
        ScanError: nothing in it is a scan, or its only series is refused.
    """
    folder = Path(upload)
    try:
        scans = find_upload_scans(folder, names, limit=limit, check=context.check)
        count = len(scans.locations)
        return [_read(context, scan, Path(out), number, count, notes=scans.notes) for number, scan in enumerate(scans.locations, 1)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_record(
    locations: Mapping[str, Sequence[ScanLocation]], context: JobContext, *, name: str, source_sha256: str, out: str
) -> list[SeriesRead]:
    """Read the file of an index's record; of several that are called so, as a mask is called as its scan, the one of its bytes.

    Raises:
        InputError: it is not at hand.
    """
    candidates = locations.get(name, ())
    if len(candidates) > 1:
        candidates = [scan for scan in candidates if scan.path.is_file() and sha256_of(scan.path) == source_sha256]
    if not candidates:
        raise InputError("the file of this case is not at hand", hint="Start the server with --scans and the folder of its files.")
    series = _read(context, candidates[0], Path(out), 1, 1)
    is_other = source_sha256 not in ("", volume_facts(Path(series.folder))["provenance"]["sha256"])
    return [replace(series, notes=(_OTHER_BYTES,)) if is_other else series]


def _volume(scan: ScanLocation) -> Volume:
    if scan.fault is not None:
        raise scan.fault
    return read(scan.path, metadata=scan.table, files=scan.files)


def _read(context: JobContext, scan: ScanLocation, out: Path, number: int, count: int, *, notes: tuple[str, ...] = ()) -> SeriesRead:
    context.check()
    context.report("reading" if count == 1 else f"reading series {number} of {count}")
    folder = out / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    volume, error = attempt(partial(_volume, scan))
    if volume is None:
        assert error is not None, "what was not read raised"
        if count == 1:
            raise error
        return SeriesRead(folder=str(folder), error=error_body(error))
    save_volume(folder, volume)
    return SeriesRead(folder=str(folder), error=None, notes=notes)

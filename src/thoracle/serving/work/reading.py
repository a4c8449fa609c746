"""Read uploads, and files of an index's records, in a process without models."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from thoracle.ct.read import read
from thoracle.ct.volume import Volume
from thoracle.errors import InputError
from thoracle.execution.executor import attempt
from thoracle.inference.batch.discover_scans import ScanLocation, find_scans
from thoracle.serving.jobs.worker import JobContext, JobFunction
from thoracle.serving.refusals import error_body
from thoracle.serving.work.results import READING, SeriesRead
from thoracle.serving.work.scan_folder import save_volume
from thoracle.serving.work.upload_scans import find_upload_scans


def equip_reader(scans: Path | None) -> tuple[Mapping[str, Mapping[str, JobFunction]], Mapping[str, Any]]:
    """Return the jobs of reading. The facts name the records whose files are in `scans`."""
    locations = {} if scans is None else by_record_name(find_scans([scans]))
    functions: dict[str, JobFunction] = {"read": read_upload, "open": partial(read_record, locations)}
    return {READING: functions}, {"available": frozenset(locations)}


def by_record_name(scans: Sequence[ScanLocation]) -> dict[str, ScanLocation]:
    """Map names by which an index may know scans: paths below the folder, and names of files that are there once."""
    count = Counter(Path(scan.name).name for scan in scans)
    short = {Path(scan.name).name: scan for scan in scans if count[Path(scan.name).name] == 1}
    return short | {scan.name: scan for scan in scans}


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


def read_record(locations: Mapping[str, ScanLocation], context: JobContext, *, name: str, out: str) -> list[SeriesRead]:
    """Read the file of an index's record.

    Raises:
        InputError: it is not at hand.
    """
    if name not in locations:
        raise InputError("the file of this case is not at hand", hint="Start the server with --scans and the folder of its files.")
    return [_read(context, locations[name], Path(out), 1, 1)]


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

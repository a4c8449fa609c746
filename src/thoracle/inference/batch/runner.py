"""Many scans through one model: the next are read while these are encoded, and one that fails does not stop the rest.

At most twice as many volumes are in memory as are encoded at once: those, and as many being read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from thoracle.ct.dicom.slice_geometry import Uneven
from thoracle.ct.metadata import MetadataTable, is_single_row
from thoracle.ct.preprocess import Preprocessing
from thoracle.ct.read import Metadata, Units, read
from thoracle.ct.volume import Volume
from thoracle.errors import MetadataError, OutsideIntendedUse, ThoracleError, WorkerKilled
from thoracle.execution.local import LocalExecutor
from thoracle.execution.prefetch import prefetch
from thoracle.files.table import UTF_8
from thoracle.inference.batch.discover_scans import ScanLocation
from thoracle.inference.batch.result_table import ResultTable, RowSource
from thoracle.inference.batch.scan_source import expected_source, row_name
from thoracle.inference.prepare import PreparedVolume, prepare

#: What one scan may cost: our own errors, and what libraries raise on damaged bytes that nobody foresaw. Not RuntimeError: a device
#: that fails, fails for every scan.
_SCAN_FAULTS = (ThoracleError, OSError, MemoryError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """Hold how scans are read: arguments of `read`, and with `strict` a refusal of all the model was not made for."""

    metadata: Metadata | None = None
    hu: Units = "auto"
    series: str | None = None
    min_slices: int = 10
    uneven: Uneven = "refuse"
    strict: bool = False

    def settings(self) -> dict[str, object]:
        """Return what decides the rows of a whole run, as JSON values; series and metadata rows are each row's own."""
        return {"hu": self.hu, "min_slices": self.min_slices, "uneven": self.uneven, "strict": self.strict}


@dataclass(frozen=True, kw_only=True)
class ScanFailure:
    """Say why a scan gave nothing: the error's class, and its message without paths, on one line."""

    error: str
    message: str


@dataclass(frozen=True, kw_only=True)
class ScanOutcome:
    """Hold the outcome of one scan: the name of its row, why there is none, and what became of an earlier one or its name."""

    name: str
    failure: ScanFailure | None
    note: str = ""


def process_scans(
    scans: Sequence[ScanLocation],
    table: ResultTable,
    *,
    preprocess: Preprocessing,
    reading: ReadOptions,
    row: Callable[[ScanLocation, Any], Sequence[str]],
    encode: Callable[[Sequence[PreparedVolume]], Sequence[Any]] = lambda prepared: prepared,
    batch_size: int = 1,
    workers: int = 1,
    is_complete: Callable[[str], bool] = lambda name: True,
) -> Iterator[ScanOutcome]:
    """Read, prepare and encode scans, and give each to `row`; what it returns is in the table before the outcome is yielded.

    A scan whose row was made of the same bytes, series and metadata row keeps it. `row` is given the scan under the name of its row.

    Args:
        scans: those to read.
        table: gets the rows.
        preprocess: of the model.
        reading: how scans are read.
        row: makes the values of a row, and all else that comes with it, of what `encode` gave.
        encode: of several scans at once; a scan that it refuses as OutsideIntendedUse fails alone.
        batch_size: how many.
        workers: processes that read and prepare, in which case outcomes come as scans are ready; 1 reads in a thread of this process, in
            order.
        is_complete: tells by the row's name whether all else that a row comes with is there.

    Raises:
        ThoracleError: from `encode` or `row`: the model's fault, not one scan's.
        OSError: the table cannot be written.
    """

    def stands(scan: _ReadScan) -> bool:
        name = row_name(scan.location, table, scan.source)
        before = table.sources.get(name)
        return before is not None and before.equals(scan.source) and is_complete(name)

    with closing(_read_ahead(scans, preprocess, reading, workers=workers, ahead=batch_size)) as read_scans:
        while batch := list(islice(read_scans, batch_size)):
            todo = [scan for scan in batch if scan.failure is None and not stands(scan)]
            encoded = dict(zip(map(id, todo), _encoded(encode, [scan.volume for scan in todo]), strict=True))
            for scan in batch:
                outcome = encoded.get(id(scan))
                failure = scan.failure or (outcome if isinstance(outcome, ScanFailure) else None)
                if failure is not None:
                    yield _failed(scan.location, table, scan.expected, failure)
                    continue
                source = scan.source
                name = row_name(scan.location, table, source)
                before = table.sources.get(name)
                if before is not None and before.equals(source):
                    if not is_complete(name):
                        row(replace(scan.location, name=name), outcome)
                    table.vouch(name, source)
                    yield ScanOutcome(name=name, failure=None)
                    continue
                values = row(replace(scan.location, name=name), outcome)
                table.warn(name, scan.volume.warnings)
                table.add(name, values, source=source)
                yield ScanOutcome(name=name, failure=None, note=_note(scan.location.name, name, before, source))


@dataclass(frozen=True, kw_only=True, eq=False)
class _ReadScan:
    """Hold a scan, what its row's source was before it was read, and what became of it."""

    location: ScanLocation
    expected: RowSource
    outcome: PreparedVolume | ScanFailure

    @property
    def failure(self) -> ScanFailure | None:
        return self.outcome if isinstance(self.outcome, ScanFailure) else None

    @property
    def volume(self) -> PreparedVolume:
        assert isinstance(self.outcome, PreparedVolume), "it did not fail"
        return self.outcome

    @property
    def source(self) -> RowSource:
        assert self.volume.provenance is not None, "it was read"
        return replace(self.expected, sha256=self.volume.provenance.sha256)


def _read_ahead(
    scans: Sequence[ScanLocation], preprocess: Preprocessing, reading: ReadOptions, *, workers: int, ahead: int
) -> Generator[_ReadScan, None, None]:
    load = partial(_prepared, preprocess=preprocess, reading=reading)
    if workers == 1:
        with closing(prefetch(load, scans, ahead=ahead)) as loaded:
            yield from (scan for _, scan in loaded)
        return
    with closing(LocalExecutor(workers=workers).map(partial(_identity, load), scans)) as outcomes:
        for finished in outcomes:
            if isinstance(finished.error, WorkerKilled):
                failure = ScanFailure(error=type(finished.error).__name__, message=_line(finished.error.redacted()))
                expected = expected_source(finished.item, metadata=reading.metadata, series=reading.series)
                yield _ReadScan(location=finished.item, expected=expected, outcome=failure)
            else:
                yield finished.output_or_raise()


def _identity(load: Callable[[ScanLocation], _ReadScan]) -> Callable[[ScanLocation], _ReadScan]:
    """Return a worker's function, which has no state."""
    return load


def _encoded(encode: Callable[[Sequence[PreparedVolume]], Sequence[Any]], volumes: Sequence[PreparedVolume]) -> Sequence[Any]:
    """Encode volumes at once; where one is refused, each alone."""
    if not volumes:
        return []
    try:
        return encode(volumes)
    except OutsideIntendedUse as error:
        if len(volumes) == 1:
            return [ScanFailure(error=type(error).__name__, message=_line(error.redacted()))]
        return [encoded for volume in volumes for encoded in _encoded(encode, [volume])]


def _failed(scan: ScanLocation, table: ResultTable, expected: RowSource, failure: ScanFailure) -> ScanOutcome:
    """Note a failure; a row that the scan has from before, and that nothing vouches for, is taken out."""
    name = row_name(scan, table, expected)
    before = table.sources.get(name)
    table.fail(name, failure.error, failure.message)
    if before is None or (expected.stamp and replace(before, sha256="") == expected):
        return ScanOutcome(name=name, failure=failure)
    table.drop(name)
    return ScanOutcome(name=name, failure=failure, note="its row was made of other files or with other options, and is removed")


def _note(scan: str, name: str, before: RowSource | None, source: RowSource) -> str:
    if before is None:
        return f"called so because the table holds another scan's row under {scan}" if name != scan else ""
    if before.sha256 != source.sha256:
        return "the chosen series or the files have changed since its row was made; the row is replaced"
    return "its row was made with another series or metadata row; the row is replaced"


def load_metadata(metadata: Path | None, *, encoding: str = UTF_8) -> Metadata | None:
    """Parse a table once for all scans; a JSON file with one row for all is left to `read`.

    Raises:
        MetadataError: not such a table.
    """
    if metadata is None or is_single_row(metadata):
        return metadata
    return MetadataTable.open(metadata, encoding=encoding)


def metadata_coverage(scans: Sequence[ScanLocation], metadata: Metadata | None) -> str:
    """Say how many scans have a row in a metadata table; "" where there is none.

    Raises:
        MetadataError: none of them has.
    """
    if not isinstance(metadata, MetadataTable):
        return ""
    matched = sum(scan.path.name in metadata for scan in scans)
    if scans and not matched:
        detail = f"none of its {len(metadata):,} rows is of any of {len(scans):,} scans, the first of which is {scans[0].path.name}"
        raise MetadataError(detail, hint="Give the table of these scans, or leave --metadata.", source=metadata.source)
    return f"{matched:,} of {len(scans):,} scans have a row in the table of --metadata."


def read_scan(scan: ScanLocation, reading: ReadOptions) -> Volume:
    """Read one scan with the metadata that was given or listed with it.

    Raises:
        ThoracleError: as `read`.
    """
    if scan.fault is not None:
        raise scan.fault
    metadata = reading.metadata or scan.table
    return read(
        scan.path,
        metadata=metadata,
        hu=reading.hu,
        series=reading.series,
        min_slices=reading.min_slices,
        files=scan.files,
        uneven=reading.uneven,
    )


def _prepared(scan: ScanLocation, preprocess: Preprocessing, reading: ReadOptions) -> _ReadScan:
    """Read a scan; what its row's source will be is looked at before, so that a file that changes meanwhile is read again."""
    read_as = partial(_ReadScan, location=scan, expected=expected_source(scan, metadata=reading.metadata, series=reading.series))
    try:
        return read_as(outcome=prepare(read_scan(scan, reading), preprocess, strict=reading.strict))
    except ThoracleError as error:
        return read_as(outcome=ScanFailure(error=type(error).__name__, message=_line(error.redacted())))
    except _SCAN_FAULTS as error:
        _log.debug("scan not read", exc_info=True)
        reason = error.strerror if isinstance(error, OSError) else None  # other texts may hold a path
        message = reason or "Thoracle did not foresee this; `thoracle inspect` says more."
        return read_as(outcome=ScanFailure(error=type(error).__name__, message=message))


def _line(text: str) -> str:
    """One line, in characters that cannot steer a terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text).strip()

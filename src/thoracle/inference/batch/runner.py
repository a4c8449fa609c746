"""Many scans through one model: the next is read while this one is encoded, and one that fails does not stop the rest.

At most two volumes are in memory: one being read, one being encoded.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from thoracle.ct.dicom.slice_geometry import Uneven
from thoracle.ct.metadata import MetadataTable
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.ct.read import Metadata, Units, read
from thoracle.ct.volume import Volume
from thoracle.errors import ThoracleError
from thoracle.execution.prefetch import prefetch
from thoracle.inference.batch.discover_scans import ScanLocation
from thoracle.inference.batch.result_table import ResultTable
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


@dataclass(frozen=True, kw_only=True)
class ScanFailure:
    """Say why a scan gave nothing: the error's class, and its message without paths, on one line."""

    error: str
    message: str


@dataclass(frozen=True, kw_only=True)
class ScanOutcome:
    """Hold the outcome of one scan."""

    name: str
    failure: ScanFailure | None


def process_scans(
    scans: Sequence[ScanLocation],
    table: ResultTable,
    *,
    preprocess: PreprocessConfig,
    reading: ReadOptions,
    row: Callable[[ScanLocation, PreparedVolume], Sequence[str]],
) -> Iterator[ScanOutcome]:
    """Read, prepare and give to `row` each scan; what it returns is appended to the table before the outcome is yielded.

    Raises:
        ThoracleError: from `row`: the model's fault, not one scan's.
        OSError: the table cannot be written.
    """
    with closing(prefetch(lambda scan: _prepared(scan, preprocess, reading), scans)) as prepared_scans:
        for scan, prepared in prepared_scans:
            if isinstance(prepared, ScanFailure):
                table.fail(scan.name, prepared.error, prepared.message)
            else:
                table.warn(scan.name, prepared.warnings)
                table.add(scan.name, row(scan, prepared))
            yield ScanOutcome(name=scan.name, failure=prepared if isinstance(prepared, ScanFailure) else None)


def load_metadata(metadata: Path | None) -> Metadata | None:
    """Parse a CSV table once for all scans; other metadata is left to `read`.

    Raises:
        MetadataError: not such a table.
    """
    return MetadataTable.open(metadata) if metadata is not None and metadata.suffix.lower() == ".csv" else metadata


def read_scan(scan: ScanLocation, reading: ReadOptions) -> Volume:
    """Read one scan with the metadata that was given or listed with it.

    Raises:
        ThoracleError: as `read`.
    """
    if scan.fault is not None:
        raise scan.fault
    metadata = reading.metadata or scan.table
    return read(scan.path, metadata=metadata, hu=reading.hu, series=reading.series, min_slices=reading.min_slices, uneven=reading.uneven)


def _prepared(scan: ScanLocation, preprocess: PreprocessConfig, reading: ReadOptions) -> PreparedVolume | ScanFailure:
    try:
        return prepare(read_scan(scan, reading), preprocess, strict=reading.strict)
    except ThoracleError as error:
        return ScanFailure(error=type(error).__name__, message=_line(error.redacted()))
    except _SCAN_FAULTS as error:
        _log.debug("scan not read", exc_info=True)
        reason = error.strerror if isinstance(error, OSError) else None  # other texts may hold a path
        return ScanFailure(error=type(error).__name__, message=reason or "Thoracle did not foresee this; `thoracle inspect` says more.")


def _line(text: str) -> str:
    """One line, in characters that cannot steer a terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text).strip()

"""One volume from its file into the cache, in a process of its own; raises nothing that is one scan's fault."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from thoracle.cohort.journal import VolumeOutcome
from thoracle.cohort.samples.volume_cache import SUFFIX, pack
from thoracle.cohort.sources import VolumeSource
from thoracle.config_reader import config_to_mapping
from thoracle.ct.chest.input_box import input_box
from thoracle.ct.chest.quality import assess
from thoracle.ct.dicom.slice_geometry import Uneven
from thoracle.ct.preprocess import Preprocessing, preprocess
from thoracle.ct.read import Units, read
from thoracle.ct.recipes.run import foreground_box
from thoracle.ct.recipes.sampling import box_as_text
from thoracle.ct.volume import Volume
from thoracle.errors import BudgetExceeded, CodecCrashed, InputError, MetadataError, ScanUnreadable, ThoracleError, WorkerKilled
from thoracle.execution.executor import ItemOutcome
from thoracle.files.atomic import write_atomic
from thoracle.version import __version__

#: Of what `read` and `preprocess` make of a scan. A change of any voxel takes the next number, and all volumes are made anew.
VOXELS_VERSION: Final = 1

#: What libraries raise on damaged bytes that nobody foresaw.
_SCAN_FAULTS = (OSError, MemoryError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
#: Reasons that may pass: the disk, the machine's time and memory, a process that died, a table that is judged anew.
_TEMPORARY = (OSError, MemoryError, ScanUnreadable, BudgetExceeded, CodecCrashed, WorkerKilled, InputError, MetadataError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PrepareVolume:
    """Preprocess a source and store it in the cache; runs in a worker."""

    cache: Path
    config: Preprocessing
    hu: Units = "auto"
    min_slices: int = 10
    judge: bool = True
    uneven: Uneven = "refuse"

    def __call__(self, task: tuple[VolumeSource, str]) -> VolumeOutcome:
        """The volume is in the cache, or the outcome says why not.

        Args:
            task: a source and its stamp.

        Raises:
            OSError: the cache cannot be written, for this volume or any other.
        """
        source, stamp = task
        try:
            if source.error is not None:
                raise source.error
            outcome, content = self._prepared(source, stamp)
        except ThoracleError as error:
            return refused(source, stamp, error, error.redacted())
        except _SCAN_FAULTS as error:
            _log.debug("scan not read", exc_info=True)
            reason = error.strerror if isinstance(error, OSError) else None  # other texts may hold a path
            return refused(source, stamp, error, reason or "Thoracle did not foresee this; `thoracle inspect` says more.")
        write_atomic(self.cache / outcome.cache, content)
        return outcome

    def _prepared(self, source: VolumeSource, stamp: str) -> tuple[VolumeOutcome, bytes]:
        volume = read(
            source.path,
            metadata=source.metadata,
            hu=self.hu,
            series=source.series,
            min_slices=self.min_slices,
            files=source.files,
            uneven=self.uneven,
        )
        quality = assess(volume) if self.judge else None
        foreground = foreground_box(volume, self.config)
        content = pack(preprocess(volume, self.config), scale=self.config.intensity_scale, zero=self.config.zero_hu)
        outcome = VolumeOutcome(
            volume=source.volume,
            stamp=stamp,
            cache=self._name(source, volume),
            cache_sha256=sha256(content).hexdigest(),
            cache_bytes=len(content),
            voxels_version=VOXELS_VERSION,
            source_sha256=volume.provenance.sha256,
            origin=_origin(volume),
            notes=_notes(volume),
            slices=volume.array.shape[2],
            spacing=volume.spacing,
            kernel=source.kernel or volume.tags.kernel or "",
            warnings=quality.warnings if quality else (),
            enhanced=quality.enhanced if quality else None,
            box=input_box(quality.box, volume, self.config).as_text() if quality and quality.box else "",
            foreground="" if foreground is None else box_as_text(foreground),
        )
        return outcome, content

    def _name(self, source: VolumeSource, volume: Volume) -> str:
        """What decides the voxels decides the name, and nothing else is in it: no name of a patient."""
        deciding = (VOXELS_VERSION, config_to_mapping(self.config), self.hu, self.uneven, volume.provenance.sha256, source.metadata)
        key = sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()
        return f"{key[:2]}/{key}{SUFFIX}"


def source_fingerprint(source: VolumeSource, settings: Mapping[str, Any]) -> str:
    """Hash all that decides the voxels and can be seen without reading them; an equal hash means no work.

    Args:
        source: its files' sizes and times, the fields of its metadata, and which of the volumes under its UID.
        settings: of the run, as far as they decide how scans are read.

    Returns:
        The hash; "" where a file cannot be looked at.
    """
    _, _, part = (source.series or "").partition("#")
    digest = sha256(json.dumps((VOXELS_VERSION, settings, source.metadata, part), sort_keys=True).encode())
    for path in source.files or (source.path,):
        try:
            facts = path.stat()
        except OSError:
            return ""
        digest.update(f"{facts.st_size}:{facts.st_mtime_ns};".encode())
    return digest.hexdigest()[:32]


def _origin(volume: Volume) -> str:
    units = volume.provenance.hounsfield
    made = f"HU = {units.slope:g} x stored + {units.intercept:g}, {units.source}"
    return f"{volume.provenance.format}; {made} ({units.evidence}); geometry from {volume.provenance.geometry}."


def _notes(volume: Volume) -> tuple[str, ...]:
    ignored = (f"Not applied: {rescale}." for rescale in volume.provenance.hounsfield.ignored_rescales)
    return (*(f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in volume.provenance.notes), *ignored)


def refused(source: VolumeSource, stamp: str, error: Exception, message: str) -> VolumeOutcome:
    """Return the outcome of a source that an error refused.

    Args:
        source: what was to be read.
        stamp: of its files.
        error: whose class is kept.
        message: why, without a path; control characters are taken out.
    """
    line = re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", message).strip()  # nothing that could steer a terminal
    return VolumeOutcome(
        volume=source.volume,
        stamp=stamp,
        error=type(error).__name__,
        message=line,
        temporary=isinstance(error, _TEMPORARY),
        reader=__version__,
    )


def volume_outcome(finished: ItemOutcome[tuple[VolumeSource, str], VolumeOutcome]) -> VolumeOutcome:
    """Return what became of a volume; one that killed its workers is refused, and any other error stops the run."""
    if isinstance(finished.error, WorkerKilled):
        source, stamp = finished.item
        return refused(source, stamp, finished.error, finished.error.redacted())
    return finished.output_or_raise()

"""One volume from its file into the cache, in a process of its own; raises nothing that is one scan's fault."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from thoracle.cohort.journal import VolumeOutcome
from thoracle.cohort.samples.volume_cache import SUFFIX, pack
from thoracle.cohort.sources import VolumeSource
from thoracle.config_reader import config_to_mapping
from thoracle.ct.dicom.slice_geometry import Uneven
from thoracle.ct.preprocess import PreprocessConfig, preprocess
from thoracle.ct.quality import assess
from thoracle.ct.read import read
from thoracle.errors import ThoracleError
from thoracle.files.atomic import write_atomic

#: What libraries raise on damaged bytes that nobody foresaw.
_SCAN_FAULTS = (OSError, MemoryError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PrepareVolume:
    """Preprocess a source and store it in the cache; runs in a worker."""

    cache: Path
    config: PreprocessConfig
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
        volume = read(source.path, metadata=source.metadata, series=source.series, files=source.files, uneven=self.uneven)
        content = pack(preprocess(volume, self.config), scale=self.config.intensity_scale)
        outcome = VolumeOutcome(
            volume=source.volume,
            stamp=stamp,
            cache=_name(self.config, volume.provenance.sha256, source.metadata),
            cache_sha256=sha256(content).hexdigest(),
            cache_bytes=len(content),
            source_sha256=volume.provenance.sha256,
            warnings=assess(volume).warnings if self.judge else (),
        )
        return outcome, content


def source_fingerprint(source: VolumeSource) -> str:
    """Hash sizes and times of a source's files and the units its tables state; an equal hash means no work."""
    digest = sha256(json.dumps(source.metadata, sort_keys=True).encode())
    for path in source.files or (source.path,):
        try:
            facts = path.stat()
        except OSError:
            return ""
        digest.update(f"{facts.st_size}:{facts.st_mtime_ns};".encode())
    return digest.hexdigest()[:32]


def _name(config: PreprocessConfig, source_sha256: str, metadata: Mapping[str, str] | None) -> str:
    """What decides the voxels decides the name."""
    key = sha256(json.dumps((config_to_mapping(config), source_sha256, metadata), sort_keys=True).encode()).hexdigest()
    return f"{key[:2]}/{key}{SUFFIX}"


def refused(source: VolumeSource, stamp: str, error: Exception, message: str) -> VolumeOutcome:
    """Return the outcome of a source that an error refused.

    Args:
        source: what was to be read.
        stamp: of its files.
        error: whose class is kept.
        message: why, without a path; control characters are taken out.
    """
    line = re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", message).strip()  # nothing that could steer a terminal
    return VolumeOutcome(volume=source.volume, stamp=stamp, error=type(error).__name__, message=line)

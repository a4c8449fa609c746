"""Record the outcome of each volume line by line, so that a killed run resumes.

One JSON object a line, on the disk at once, so that nothing is lost; a cut last line is dropped, and its volume read again. The later line
of a volume counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from thoracle.errors import OutputConflict
from thoracle.files.append_log import append_lines, recover_lines


@dataclass(frozen=True, kw_only=True)
class VolumeOutcome:
    """Record the outcome of preparing one volume.

    Attributes:
        volume: its name.
        stamp: of its files, its metadata and the settings as they were, see `source_fingerprint`.
        cache: its file below the cache's folder; "" where it was refused.
        cache_sha256: of that file.
        cache_bytes: its size.
        voxels_version: of the reader that made it.
        source_sha256: as in `Provenance`.
        origin: its format, and where units and geometry come from.
        notes: what was mended, set aside or not applied as it was read.
        slices: axial slices of the scan.
        spacing: of the scan in mm along x, y, z.
        kernel: convolution kernel, "" where nobody says.
        warnings: sentences on what is odd about it.
        enhanced: whether its voxels show contrast agent, as `Quality` has it; None also where nobody looked.
        box: of the chest in the cached volume, as `InputBox.as_text` writes it; "" where there is none, or nobody looked.
        foreground: voxels of the scan that its recipe kept, as `box_as_text` writes them; "" where it crops to none.
        error: the class of the error that refused it, or "".
        message: of that error, without a path.
        temporary: the reason may pass (time, memory, a crash, a disk), so the next run reads it again.
        reader: the version of Thoracle that refused it.
    """

    volume: str
    stamp: str
    cache: str = ""
    cache_sha256: str = ""
    cache_bytes: int = 0
    voxels_version: int = 0
    source_sha256: str = ""
    origin: str = ""
    notes: tuple[str, ...] = ()
    slices: int = 0
    spacing: tuple[float, ...] = ()
    kernel: str = ""
    warnings: tuple[str, ...] = ()
    enhanced: bool | None = None
    box: str = ""
    foreground: str = ""
    error: str = ""
    message: str = ""
    temporary: bool = False
    reader: str = ""


class Journal:
    """Keep outcomes by volume in an append-only file.

    Attributes:
        outcomes: the last of each volume.
        cached: the last of each volume that put it into the cache; it may have been refused since.

    Raises:
        OutputConflict: a whole line is none of a journal's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.outcomes: dict[str, VolumeOutcome] = {}
        self.cached: dict[str, VolumeOutcome] = {}
        self._take(_parse(line, path) for line in recover_lines(path))

    def add(self, outcomes: Iterable[VolumeOutcome]) -> None:
        """Append outcomes; they are on the disk when this returns."""
        new = list(outcomes)
        append_lines(self._path, (json.dumps(asdict(outcome), separators=(",", ":")) for outcome in new))
        self._take(new)

    def has_cached(self, volume: str, stamp: str) -> bool:
        """Tell whether a volume was put into the cache when its files were as the stamp says."""
        return volume in self.cached and self.cached[volume].stamp == stamp

    def _take(self, outcomes: Iterable[VolumeOutcome]) -> None:
        for outcome in outcomes:
            self.outcomes[outcome.volume] = outcome
            if not outcome.error:
                self.cached[outcome.volume] = outcome


def _parse(line: bytes, path: Path) -> VolumeOutcome:
    try:
        values = json.loads(line)
        return VolumeOutcome(**{**values, **{name: tuple(values[name]) for name in ("notes", "spacing", "warnings")}})
    except (ValueError, TypeError, KeyError) as error:
        raise OutputConflict("is not the journal of a preparation", hint="Move it away.", source=path) from error

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
        stamp: of its files as they were, see `stamp`.
        cache: its file below the cache's folder; "" where it was refused.
        cache_sha256: of that file.
        cache_bytes: its size.
        source_sha256: as in `Provenance`.
        warnings: sentences on what is odd about it.
        error: the class of the error that refused it, or "".
        message: of that error, without a path.
    """

    volume: str
    stamp: str
    cache: str = ""
    cache_sha256: str = ""
    cache_bytes: int = 0
    source_sha256: str = ""
    warnings: tuple[str, ...] = ()
    error: str = ""
    message: str = ""


class Journal:
    """Keep outcomes by volume in an append-only file.

    Raises:
        OutputConflict: a whole line is none of a journal's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.outcomes: dict[str, VolumeOutcome] = {}
        for line in recover_lines(path):
            outcome = _parse(line, path)
            self.outcomes[outcome.volume] = outcome

    def add(self, outcomes: Iterable[VolumeOutcome]) -> None:
        """Append outcomes; they are on the disk when this returns."""
        new = {outcome.volume: outcome for outcome in outcomes}
        append_lines(self._path, (json.dumps(asdict(outcome), separators=(",", ":")) for outcome in new.values()))
        self.outcomes |= new


def _parse(line: bytes, path: Path) -> VolumeOutcome:
    try:
        values = json.loads(line)
        return VolumeOutcome(**{**values, "warnings": tuple(values["warnings"])})
    except (ValueError, TypeError, KeyError) as error:
        raise OutputConflict("is not the journal of a preparation", hint="Move it away.", source=path) from error

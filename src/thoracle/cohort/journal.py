"""What became of each volume, line by line as it happens, so that a killed run goes on where it was; knows no layout and no cache.

One JSON object a line, given to the system at once, so that nothing is lost with the process; a cut last line is dropped, as a failing
machine leaves it, and its volume read again. The later line of a volume counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from thoracle.errors import OutputConflict


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one volume.

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
    """The lines so far, by volume.

    Raises:
        OutputConflict: a whole line is none of a journal's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.outcomes: dict[str, Outcome] = {}
        content = path.read_bytes() if path.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
        for line in content[:whole].splitlines():
            outcome = _parse(line, path)
            self.outcomes[outcome.volume] = outcome

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Kept, whatever becomes of this process, when this returns."""
        new = {outcome.volume: outcome for outcome in outcomes}
        text = "".join(json.dumps(asdict(outcome), separators=(",", ":")) + "\n" for outcome in new.values())
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)
        self.outcomes |= new


def _parse(line: bytes, path: Path) -> Outcome:
    try:
        values = json.loads(line)
        return Outcome(**{**values, "warnings": tuple(values["warnings"])})
    except (ValueError, TypeError, KeyError) as error:
        raise OutputConflict("is not the journal of a preparation", cure="Move it away.", source=path) from error

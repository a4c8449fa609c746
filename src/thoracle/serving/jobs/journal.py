"""Keep on the disk which jobs have begun and ended, so that a server that was killed can say which were lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from thoracle.files.append_log import append_lines, recover_lines

_NAME: Final = "jobs.jsonl"


@dataclass(frozen=True, kw_only=True)
class LostJob:
    """Name a job that a server did not finish."""

    id: str
    kind: str
    scan: str


class JobJournal:
    """Append the beginning and the end of jobs to a file of a folder.

    Attributes:
        lost: jobs that the server before began and did not end.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME
        self.lost = _unfinished(recover_lines(self._path))
        self._path.unlink(missing_ok=True)

    def begin(self, job: str, *, kind: str, scan: str) -> None:
        """Note that a job has been accepted; it is on the disk at return."""
        append_lines(self._path, [json.dumps({"begin": job, "kind": kind, "scan": scan})], private=True)

    def end(self, job: str) -> None:
        """Note that a job has ended, however it did."""
        append_lines(self._path, [json.dumps({"end": job})], private=True)

    def close(self) -> None:
        """Remove the file: nothing is lost."""
        self._path.unlink(missing_ok=True)


def _unfinished(lines: Sequence[bytes]) -> tuple[LostJob, ...]:
    begun: dict[str, LostJob] = {}
    for line in lines:
        entry: dict[str, Any] = {}
        with suppress(ValueError):
            entry = json.loads(line)
        if "begin" in entry:
            begun[entry["begin"]] = LostJob(id=entry["begin"], kind=entry["kind"], scan=entry["scan"])
        begun.pop(entry.get("end", ""), None)
    return tuple(begun.values())

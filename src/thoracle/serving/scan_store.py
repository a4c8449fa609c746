"""Hold open scans with all that was made of them, in a folder that is emptied at start, and at exit."""

from __future__ import annotations

import secrets
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from thoracle.client.error_answers import to_error
from thoracle.client.forms.scans import ChatTurn, FindingMap, FindingRow, Opinion, ScanRow, ScanState
from thoracle.client.forms.service import ErrorBody
from thoracle.errors import NotReady, ServerFull, UnknownId
from thoracle.files.atomic import make_private_folder
from thoracle.serving.work.results import FindingsRead
from thoracle.serving.work.scan_folder import volume_facts

_FOLDER: Final = "scans"


@dataclass(kw_only=True, eq=False)
class OpenScan:
    """Hold an open scan.

    Attributes:
        id: random.
        folder: of its files.
        label: nobody's name.
        state: where it stands.
        error: why it was refused.
        job: the last job about it.
        facts: what is known of its volume.
        notes: what was left out of its upload.
        findings: None until they are read.
        maps: by finding and method; `latest_map` has the method of the last of each finding.
        map_jobs: that made them, by finding and the method that was asked for.
        conversation: turns as people see them; `words` has the answers in the model's own words.
        verdicts: what a person said, by finding.
        size: bytes on the disk.
        opened_at: seconds since 1970.
        used_at: `time.monotonic`.
    """

    id: str
    folder: Path
    label: str
    state: ScanState = "queued"
    error: ErrorBody | None = None
    job: str = ""
    facts: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    findings: FindingsRead | None = None
    maps: dict[tuple[str, str], FindingMap] = field(default_factory=dict)
    latest_map: dict[str, str] = field(default_factory=dict)
    map_jobs: dict[tuple[str, str | None], str] = field(default_factory=dict)
    conversation: list[ChatTurn] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    verdicts: dict[str, Opinion] = field(default_factory=dict)
    size: int = 0
    opened_at: float = field(default_factory=time.time)
    used_at: float = field(default_factory=time.monotonic)

    @property
    def volume_folder(self) -> Path:
        """Return the folder of its volume."""
        return self.folder / "volume"

    def rows(self) -> list[FindingRow] | None:
        """Return its findings with what a person said of them; None until they are read."""
        if self.findings is None:
            return None
        return [replace(row, agreed=self.verdicts.get(row.name)) for row in self.findings.rows]

    def row(self) -> ScanRow:
        """Describe it in the table of all."""
        findings = None if self.findings is None else {row.name: row.probability for row in self.findings.rows}
        return ScanRow(
            id=self.id,
            state=self.state,
            error=self.error,
            series_label=self.label,
            shape=None if self.facts is None else self.facts["shape"],
            findings=findings,
            opened_at=self.opened_at,
        )

    def take_volume(self, folder: Path, *, notes: tuple[str, ...]) -> None:
        """Move a volume that was read into its place, and keep what was left out beside it.

        Raises:
            OSError: it cannot be moved.
        """
        folder.rename(self.volume_folder)
        self.facts, self.notes, self.state = volume_facts(self.volume_folder), notes, "ready"
        self.size = sum(path.stat().st_size for path in self.volume_folder.iterdir())


class ScanStore:
    """Hold open scans by id.

    Args:
        work: folder of the server.
        open_scans: that may be open at once.
        disk_bytes: that all may have on the disk.
    """

    def __init__(self, work: Path, *, open_scans: int, disk_bytes: int) -> None:
        self._folder, self._open_scans, self._disk_bytes = work / _FOLDER, open_scans, disk_bytes
        self._scans: dict[str, OpenScan] = {}
        self._number = 0
        self.clear()
        make_private_folder(self._folder)

    def clear(self) -> None:
        """Delete all scans and all that was made of them, those of a server that was killed too.

        Raises:
            OSError: it cannot be deleted.
        """
        self._scans.clear()
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def open(self, label: str = "") -> OpenScan:
        """Make room for a scan; `label` is by default the next number.

        Raises:
            ServerFull: as many are open as may be, or the disk's limit is reached.
        """
        if len(self._scans) >= self._open_scans:
            raise ServerFull(
                f"{len(self._scans)} scans are open, which is as many as may be", hint="Close some, or wait until they expire."
            )
        self.reserve(0)
        self._number += not label
        id = secrets.token_urlsafe(12)
        scan = OpenScan(id=id, folder=self._folder / id, label=label or f"Scan {self._number}")
        make_private_folder(scan.folder)
        self._scans[id] = scan
        return scan

    def free_bytes(self) -> int:
        """Return the bytes that the limit of the disk leaves."""
        return self._disk_bytes - sum(scan.size for scan in self._scans.values())

    def reserve(self, size: int) -> None:
        """Raise ServerFull where `size` bytes more would pass the limit of the disk."""
        if size > self.free_bytes():
            raise ServerFull("the disk's limit is reached", hint="Close scans, or wait until they expire.")

    def scan(self, id: str) -> OpenScan:
        """Return a scan, and count this as its use.

        Raises:
            UnknownId: there is none.
        """
        if id not in self._scans:
            raise UnknownId("there is no such scan", hint="Open it again: scans expire, and end with the server.")
        scan = self._scans[id]
        scan.used_at = time.monotonic()
        return scan

    def ready_scan(self, id: str) -> OpenScan:
        """Return a scan that was read.

        Raises:
            UnknownId: there is none.
            NotReady: it is not read yet.
            ThoracleError: it was refused.
        """
        scan = self.scan(id)
        if scan.error is not None:
            raise to_error(scan.error)
        if scan.state != "ready":
            raise NotReady("the scan is not read yet", hint="Wait for its job.")
        return scan

    def scans(self) -> list[OpenScan]:
        """List all, the oldest first."""
        return list(self._scans.values())

    def close(self, scan: OpenScan) -> None:
        """Delete a scan and all that was made of it."""
        self._scans.pop(scan.id, None)
        shutil.rmtree(scan.folder, ignore_errors=True)

    def expired(self, after: float) -> list[OpenScan]:
        """List scans that nobody has used for so many seconds."""
        now = time.monotonic()
        return [scan for scan in self._scans.values() if now - scan.used_at > after]

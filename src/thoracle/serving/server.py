"""Hold what a running server has: open scans, jobs, the cases that were found; and let nothing of it outlive its use."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from fastapi import Request

from thoracle.client.error_answers import to_error
from thoracle.client.forms.service import ErrorBody
from thoracle.errors import InputError, NotReady, ServerFull, UnknownId
from thoracle.files.atomic import make_private_folder
from thoracle.serving.jobs.board import JobBoard
from thoracle.serving.jobs.crew import Crew, JobLimits
from thoracle.serving.jobs.job import Job
from thoracle.serving.jobs.journal import JobJournal
from thoracle.serving.observation import AuditLog, RequestCounts
from thoracle.serving.scan_store import OpenScan, ScanStore
from thoracle.serving.settings import ModelSettings, ServerSettings
from thoracle.serving.work.results import MODELS, READING, SEARCH, Facts, SeriesRead

#: Seconds between looks for what has expired.
_SWEEP: Final = 15.0


class FoundCase(NamedTuple):
    """Hold a record's number in the index, what it is called there, and the SHA-256 of the file that was indexed, "" for none."""

    number: int
    volume: str
    source_sha256: str


class FoundCases:
    """Give records of the index random ids, which last as long as the server."""

    def __init__(self) -> None:
        self._cases: dict[str, FoundCase] = {}
        self._ids: dict[int, str] = {}

    def id_of(self, number: int, volume: str, source_sha256: str) -> str:
        """Return the id of a record."""
        if number not in self._ids:
            self._ids[number] = secrets.token_urlsafe(12)
        self._cases[self._ids[number]] = FoundCase(number, volume, source_sha256)
        return self._ids[number]

    def record(self, id: str) -> FoundCase:
        """Return what has an id.

        Raises:
            UnknownId: there is none.
        """
        if id not in self._cases:
            raise UnknownId("there is no such case", hint="Search again: ids of cases last as long as the server.")
        return self._cases[id]


class Server:
    """Hold the state of one server.

    Args:
        settings: that it is started with.
        on_problem: takes why models or index could not be loaded.

    Attributes:
        settings: that it was started with.
        audit: notes of who did what.
        counts: of requests.
        store: open scans.
        board: jobs.
        cases: records that were found.
        facts: what the models are; None until they are loaded.
        available: names of the index's records whose files are at hand.
    """

    def __init__(self, settings: ServerSettings, *, on_problem: Callable[[ErrorBody], None] = lambda _: None) -> None:
        self.settings = settings
        make_private_folder(settings.work)
        self.audit = AuditLog(settings.audit_log or settings.work / "audit.jsonl")
        self.counts = RequestCounts()
        self.store = ScanStore(settings.work, open_scans=settings.open_scans, disk_bytes=settings.disk_bytes)
        journal = JobJournal(settings.work)
        for lost in journal.lost:
            self.audit.note(who="server", action="lost", job=lost.id, kind=lost.kind, scan=lost.scan)
        self.lost = journal.lost
        self._journal = journal
        limits = JobLimits(waiting=settings.waiting, seconds=settings.job_seconds, memory_bytes=settings.job_bytes)
        models = [partial(_equip_models, settings.models, device) for device in settings.devices]
        crews = [
            Crew(equips=[partial(_equip_reader, settings.models.scans)], lanes=(READING,), journalled=(READING,)),
            Crew(equips=models, lanes=(MODELS, SEARCH), journalled=(MODELS,)),
        ]
        self.board = JobBoard(crews, limits=limits, journal=journal, on_facts=self._take_facts, on_problem=on_problem)
        self.cases = FoundCases()
        self.facts: Facts | None = None
        self.available: frozenset[str] = frozenset()
        self._sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start worker processes, and look for what has expired from now on."""
        self.board.start()
        self._sweeper = asyncio.create_task(self._sweep())

    async def close(self) -> None:
        """End all, and delete uploads and results."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self.board.close()
        self.store.clear()
        self._journal.close()
        self.audit.close()

    def read_upload(self, scan: OpenScan, upload: Path, names: Mapping[Path, str]) -> Job:
        """Start the job that reads an upload, whose files the sender called by `names`."""
        limit = min(self.settings.upload_bytes, self.store.free_bytes())
        return self._read(scan, "read", {"upload": str(upload), "names": names, "limit": limit})

    def read_record(self, scan: OpenScan, case: FoundCase) -> Job:
        """Start the job that reads the file of a record."""
        return self._read(scan, "open", {"name": case.volume, "source_sha256": case.source_sha256})

    def close_scan(self, scan: OpenScan) -> None:
        """Cancel a scan's jobs, and delete it."""
        self.board.cancel_scan(scan.id)
        self.store.close(scan)

    def take_index_size(self, records: int) -> None:
        """Keep how many volumes the index has now."""
        facts = self.loaded()
        if facts.index is not None:
            self.facts = replace(facts, index=replace(facts.index, records=records))

    def loaded(self) -> Facts:
        """Return what the models are.

        Raises:
            NotReady: they are being loaded.
            ThoracleError: they could not be.
        """
        if self.facts is None:
            if self.board.problem is not None:
                raise to_error(self.board.problem)
            raise NotReady("the models are being loaded", hint="Try again in some seconds.")
        return self.facts

    async def result_of(self, job: Job) -> Any:
        """Wait for a job, and return its result; cancel it where nobody waits any more.

        Raises:
            ThoracleError: the job failed.
        """
        try:
            await job.finished.wait()
        except asyncio.CancelledError:
            self.board.cancel(job)
            raise
        if job.error is not None:
            raise to_error(job.error)
        return job.result

    def _read(self, scan: OpenScan, kind: str, arguments: Mapping[str, Any]) -> Job:
        out = scan.folder / "read"
        job = self.board.submit(
            kind,
            lane=READING,
            scan=scan.id,
            arguments={**arguments, "out": str(out)},
            conclude=lambda job: self._take_series(scan, job),
        )
        scan.job, scan.state = job.id, "reading"
        return job

    def _take_series(self, scan: OpenScan, job: Job) -> None:
        """Make a scan of each series that was read; the first is the one that was asked for."""
        if job.result is None:
            scan.state, scan.error = "refused", job.error
        elif scan in self.store.scans():  # it may have been closed meanwhile
            results: list[SeriesRead] = job.result
            untaken = 0
            for number, series in enumerate(results, 1):
                label = f"{scan.label}, series {number} of {len(results)}" if len(results) > 1 else scan.label
                try:
                    target = scan if number == 1 else self.store.open(label)
                except ServerFull:
                    untaken += 1
                    continue
                target.job = job.id
                self._take_volume(target, series)
            if len(results) > 1:
                scan.label = f"{scan.label}, series 1 of {len(results)}"
            if untaken:
                scan.notes += (f"{untaken} of {len(results)} series were left out: as many scans are open as may be, or the disk is full.",)
        shutil.rmtree(scan.folder / "read", ignore_errors=True)
        shutil.rmtree(scan.folder / "upload", ignore_errors=True)

    def _take_volume(self, scan: OpenScan, series: SeriesRead) -> None:
        if series.error is not None:
            scan.state, scan.error = "refused", series.error
        else:
            scan.take_volume(Path(series.folder), notes=series.notes)

    def _take_facts(self, facts: Mapping[str, Any]) -> None:
        self.facts = facts.get("models", self.facts)
        self.available = facts.get("available", self.available)

    async def _sweep(self) -> None:
        while True:
            for scan in self.store.expired(self.settings.expires_after):
                self.audit.note(who="server", action="expired", scan=scan.id)
                self.close_scan(scan)
            await asyncio.sleep(min(_SWEEP, self.settings.expires_after / 4))


def server_of(request: Request) -> Server:
    """Return the server that a request came to."""
    server: Server = request.app.state.server
    return server


def check_finding(name: str, facts: Facts) -> None:
    """Raise InputError where the model does not read a finding."""
    if name not in facts.model.findings:
        raise InputError(f"no finding {name!r:.60}", hint=f"There are {', '.join(facts.model.findings[:20])}.")


def _equip_reader(scans: Path | None) -> Any:
    from thoracle.serving.work.reading import equip_reader  # in the worker's process alone

    return equip_reader(scans)


def _equip_models(settings: ModelSettings, device: str) -> Any:
    from thoracle.serving.work.equipment import equip_models  # torch is the worker's

    return equip_models(settings, device)

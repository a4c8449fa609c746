"""Queue jobs, give them to worker processes, and hold them to their limits; everything here runs in one event loop."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from thoracle.client.forms.service import ErrorBody, JobStatus
from thoracle.errors import JobCancelled, JobLimitExceeded, JobLost, ServerFull, UnknownId, WorkerKilled
from thoracle.execution.executor import attempt
from thoracle.serving.jobs.crew import Crew, JobLimits, Slot
from thoracle.serving.jobs.job import Job
from thoracle.serving.jobs.journal import JobJournal
from thoracle.serving.jobs.process import WorkerProcess
from thoracle.serving.refusals import error_body

#: Seconds between looks at times and memory.
_LOOK: Final = 0.25
#: Seconds that a job that is asked to end has before its process is killed.
_GRACE: Final = 5.0
#: Ended jobs whose state can still be asked for.
_REMEMBERED: Final = 1000
#: Processes in a row that end before they are ready.
_STARTS: Final = 3


class JobBoard:
    """Run jobs.

    Args:
        crews: who runs them.
        limits: of each job.
        journal: of what is under way.
        on_facts: takes what a process says of what it has loaded.
        on_problem: takes why a process could not.

    Attributes:
        problem: why a process could not load what it needs; None where all could.
        counts: ended jobs by kind and state.
        restarts: processes that were replaced.
    """

    def __init__(
        self,
        crews: Sequence[Crew],
        *,
        limits: JobLimits,
        journal: JobJournal,
        on_facts: Callable[[Mapping[str, Any]], None] = lambda _: None,
        on_problem: Callable[[ErrorBody], None] = lambda _: None,
    ) -> None:
        self._limits, self._journal, self._on_facts, self._on_problem = limits, journal, on_facts, on_problem
        self._slots = [Slot(crew, equip) for crew in crews for equip in crew.equips]
        self._waiting: dict[str, deque[Job]] = {lane: deque() for crew in crews for lane in crew.lanes}
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._watch: asyncio.Task[None] | None = None
        self._last_seconds: dict[str, float] = {}
        self.problem: ErrorBody | None = None
        self.counts: dict[tuple[str, str], int] = {}
        self.restarts = 0
        for lost in journal.lost:
            error = JobLost("the server ended before this job did", hint="Open the scan again, and start it again.")
            job = Job(id=lost.id, kind=lost.kind, lane="", scan=lost.scan, arguments={}, state="failed", error=error_body(error))
            job.ended = job.submitted
            job.finished.set()
            self._jobs[job.id] = job

    def start(self) -> None:
        """Start all processes."""
        for slot in self._slots:
            self._start(slot)
        self._watch = asyncio.create_task(self._look())

    async def close(self) -> None:
        """Cancel all jobs, and end all processes."""
        if self._watch is not None:
            self._watch.cancel()
        processes = [slot.process for slot in self._slots if slot.process is not None]
        for job in [job for job in self._jobs.values() if not job.has_ended]:
            self._end(job, "cancelled", error=error_body(JobCancelled("the server ends", hint="Start it again when the server is back.")))
        await asyncio.gather(*(asyncio.to_thread(process.close) for process in processes))

    @property
    def is_ready(self) -> bool:
        """Tell whether all processes have loaded what they need."""
        return all(slot.process is not None and slot.process.ready for slot in self._slots)

    def submit(
        self, kind: str, *, lane: str, scan: str = "", arguments: Mapping[str, Any], conclude: Callable[[Job], None] = lambda job: None
    ) -> Job:
        """Accept a job.

        Raises:
            ServerFull: as many wait as may.
        """
        waiting = self._waiting[lane]
        if len(waiting) >= self._limits.waiting:
            raise ServerFull(f"{len(waiting)} jobs wait, which is as many as may", hint=f"Try again in {self.retry_after(lane)} seconds.")
        job = Job(id=secrets.token_urlsafe(12), kind=kind, lane=lane, scan=scan, arguments=arguments, conclude=conclude)
        self._jobs[job.id] = job
        if self._is_journalled(lane):
            self._journal.begin(job.id, kind=kind, scan=scan)
        waiting.append(job)
        for slot in self._slots:
            if lane in slot.crew.lanes and slot.process is None and self.problem is not None:
                self._give_up(slot, self.problem)
        self._dispatch(lane)
        return job

    def retry_after(self, lane: str) -> int:
        """Estimate the seconds until a place in a queue is free, from how long its last job took."""
        return max(1, round(self._last_seconds.get(lane, 1.0)))

    def job(self, id: str) -> Job:
        """Return a job.

        Raises:
            UnknownId: there is none.
        """
        if id not in self._jobs:
            raise UnknownId("there is no such job", hint="Start it again: jobs are forgotten when the server ends.")
        return self._jobs[id]

    def success_to_be(self, id: str) -> Job | None:
        """Return a job that waits, runs or is done; None where it is forgotten, failed, or is being cancelled."""
        job = self._jobs.get(id)
        return job if job is not None and job.state in ("queued", "running", "done") and job.cancel_at is None else None

    def status(self, job: Job) -> JobStatus:
        """Describe a job."""
        place = self._waiting[job.lane].index(job) + 1 if job.state == "queued" else 0
        return JobStatus(
            id=job.id,
            kind=job.kind,
            scan=job.scan,
            state=job.state,
            place=place,
            stage=job.stage,
            seconds=round(job.seconds(), 3),
            error=job.error,
        )

    def cancel(self, job: Job) -> None:
        """Cancel a job; one that runs has a few seconds to end before its process is killed."""
        if job.state == "queued":
            self._waiting[job.lane].remove(job)
            self._end(job, "cancelled", error=_cancelled())
        elif job.state == "running" and job.cancel_at is None:
            job.cancel_at = time.monotonic()
            for slot in self._slots:
                if job in slot.running.values() and slot.process is not None:
                    slot.process.cancel(job.id)

    def cancel_scan(self, scan: str) -> None:
        """Cancel all jobs about a scan."""
        for job in [job for job in self._jobs.values() if job.scan == scan and not job.has_ended]:
            self.cancel(job)

    def under_way(self) -> dict[str, tuple[int, int]]:
        """Count jobs that wait and that run, by lane."""
        running = [job.lane for slot in self._slots for job in slot.running.values()]
        return {lane: (len(waiting), running.count(lane)) for lane, waiting in self._waiting.items()}

    def memory(self) -> int:
        """Return the bytes that all processes hold."""
        return sum(slot.process.memory() for slot in self._slots if slot.process is not None)

    def _is_journalled(self, lane: str) -> bool:
        return any(lane in slot.crew.journalled for slot in self._slots)

    def _start(self, slot: Slot) -> None:
        slot.process = WorkerProcess(slot.equip, on_message=lambda process, message: self._hear(slot, process, message))

    def _dispatch(self, lane: str) -> None:
        waiting = self._waiting[lane]
        for slot in self._slots:
            process = slot.process
            if waiting and process is not None and process.ready and lane in slot.crew.lanes and lane not in slot.running:
                job = waiting.popleft()
                job.state, job.started, job.memory_before = "running", time.monotonic(), process.own_memory()
                slot.running[lane] = job
                process.order(job.id, lane, job.kind, dict(job.arguments))
                job.publish()

    def _hear(self, slot: Slot, process: WorkerProcess, message: tuple[Any, ...]) -> None:
        """Take a message of a process."""
        if process is not slot.process:
            return
        event, *values = message
        if event == "ready":
            process.ready, slot.failed_starts = True, 0
            self._on_facts(values[0])
        elif event == "broken":
            self._give_up(slot, values[0])
        elif event == "ended":
            self._replace(slot, process)
        else:
            self._hear_of_job(slot, event, *values)
        for lane in slot.crew.lanes:
            self._dispatch(lane)

    def _hear_of_job(self, slot: Slot, event: str, id: str, value: Any) -> None:
        job = next((job for job in slot.running.values() if job.id == id), None)
        if job is None:
            return
        if event == "stage":
            job.stage = value
            job.publish()
        elif event == "event":
            job.publish(value)
        else:
            del slot.running[job.lane]
            if event == "done":
                job.result = value
                self._end(job, "done")
            elif job.cancel_at is not None:  # whatever it met on its way out
                self._end(job, "cancelled", error=_cancelled())
            else:
                self._end(job, "failed", error=value)

    def _replace(self, slot: Slot, process: WorkerProcess) -> None:
        """Start another process in place of one that ended; what ran beside the job that cost it its life runs again."""
        ending, ready = process.ending(), process.ready
        jobs, slot.running = list(slot.running.values()), {}
        culprits = [job for job in jobs if job.fault is not None] or jobs
        for job in culprits:
            death = WorkerKilled(f"its worker process ended ({ending})", hint="Memory may be short: try a smaller scan.")
            self._end(job, "cancelled" if job.cancel_at is not None else "failed", error=job.fault or error_body(death))
        for job in jobs:
            if job not in culprits:
                job.state, job.started = "queued", None
                self._waiting[job.lane].appendleft(job)
        slot.failed_starts += not ready
        if slot.failed_starts >= _STARTS:
            error = WorkerKilled(f"a worker process ended {_STARTS} times as it started ({ending})", hint="Memory may be short.")
            self._give_up(slot, error_body(error))
        elif self.problem is None:
            self.restarts += 1
            self._start(slot)

    def _give_up(self, slot: Slot, problem: ErrorBody) -> None:
        """Fail what waits for a process that cannot work."""
        if self.problem is None:
            self._on_problem(problem)
        self.problem, slot.process = problem, None
        for lane in slot.crew.lanes:
            while self._waiting[lane]:
                self._end(self._waiting[lane].popleft(), "failed", error=problem)

    def _end(self, job: Job, state: Any, *, error: ErrorBody | None = None) -> None:
        job.state, job.error, job.ended, job.stage, job.arguments = state, error, time.monotonic(), "", {}
        if job.started is not None:
            self._last_seconds[job.lane] = job.ended - job.started
        _, fault = attempt(partial(job.conclude, job))
        if fault is not None:  # such as a full disk: who waits must hear of it
            job.state, job.error = "failed", error_body(fault)
        self.counts[job.kind, job.state] = self.counts.get((job.kind, job.state), 0) + 1
        if self._is_journalled(job.lane):
            self._journal.end(job.id)
        job.finished.set()
        job.publish()
        for id in [old.id for old in self._jobs.values() if old.has_ended][:-_REMEMBERED]:
            del self._jobs[id]

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            for slot in self._slots:
                if slot.process is not None and slot.running:
                    self._hold_to_limits(slot.process, list(slot.running.values()))

    def _hold_to_limits(self, process: WorkerProcess, jobs: Sequence[Job]) -> None:
        now, memory = time.monotonic(), process.memory()
        for job in jobs:
            assert job.started is not None, "it runs"
            if job.cancel_at is not None and now - job.cancel_at > _GRACE:
                job.fault = _cancelled()
            elif now - job.started > self._limits.seconds:
                hint = "Give a smaller scan, or start the server with a longer --job-seconds."
                job.fault = error_body(JobLimitExceeded(f"took more than {self._limits.seconds:g} seconds", hint=hint))
            elif memory - job.memory_before > self._limits.memory_bytes:
                hint = "Give a smaller scan, or start the server with a larger --job-memory."
                job.fault = error_body(JobLimitExceeded(f"took more than {self._limits.memory_bytes:,} bytes of memory", hint=hint))
        if any(job.fault is not None for job in jobs):
            with suppress(OSError):
                process.kill()


def _cancelled() -> ErrorBody:
    return error_body(JobCancelled("cancelled", hint="Start it again if it is needed."))

"""Say who runs jobs: processes that do the same, their places, and what one job may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thoracle.serving.jobs.job import Job
from thoracle.serving.jobs.process import WorkerProcess
from thoracle.serving.jobs.worker import Equip


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Describe worker processes that do the same.

    Attributes:
        equips: one a process: what it loads.
        lanes: its queues; of each a process runs one job at a time.
        journalled: lanes whose jobs are noted on the disk.
    """

    equips: Sequence[Equip]
    lanes: tuple[str, ...]
    journalled: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobLimits:
    """Hold limits: jobs that wait in a lane, seconds and bytes of memory of one."""

    waiting: int
    seconds: float
    memory_bytes: int


class Slot:
    """Hold one place of a crew, whose process is replaced when it ends."""

    def __init__(self, crew: Crew, equip: Equip) -> None:
        self.crew, self.equip = crew, equip
        self.process: WorkerProcess | None = None
        self.running: dict[str, Job] = {}
        self.failed_starts = 0

"""Jobs run in order, one a lane, within their limits; a process that dies costs its job alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.serving.jobs import crews
from thoracle.client.forms.service import ErrorBody
from thoracle.errors import ServerFull, UnknownId
from thoracle.serving.jobs.board import JobBoard
from thoracle.serving.jobs.crew import Crew, JobLimits
from thoracle.serving.jobs.job import Job
from thoracle.serving.jobs.journal import JobJournal

MIB = 1 << 20


def on_board(folder: Path, test: Callable[[JobBoard], Awaitable[None]], *, equip: Any = crews.equip, **limits: Any) -> None:
    async def run() -> None:
        wanted = JobLimits(**{"waiting": 3, "seconds": 60.0, "memory_bytes": 1 << 34, **limits})
        crew = Crew(equips=[equip], lanes=("first", "second"), journalled=("first",))
        problems: list[ErrorBody] = []
        board = JobBoard([crew], limits=wanted, journal=JobJournal(folder), on_problem=problems.append)
        board.start()
        try:
            async with asyncio.timeout(60):
                await test(board)
            assert problems == ([] if board.problem is None else [board.problem]), "it is told once"
        finally:
            await board.close()

    asyncio.run(run())


async def ready(board: JobBoard) -> None:
    while not board.is_ready:
        await asyncio.sleep(0.01)


def test_jobs_of_a_lane_run_one_after_the_other_and_those_of_another_beside_them(tmp_path: Path) -> None:
    order: list[str] = []

    async def test(board: JobBoard) -> None:
        await ready(board)
        slow = board.submit("sleep", lane="first", arguments={"seconds": 0.6}, conclude=lambda job: order.append("slow"))
        after = board.submit("echo", lane="first", arguments={"text": "a"}, conclude=lambda job: order.append("after"))
        beside = board.submit("echo", lane="second", arguments={"text": "b"}, conclude=lambda job: order.append("beside"))
        assert board.status(after).place == 1
        assert board.under_way() == {"first": (1, 1), "second": (0, 1)}
        await after.finished.wait()
        assert (slow.result, after.result, beside.result) == ("slept", "A", "B")
        assert order == ["beside", "slow", "after"]
        assert board.counts == {("sleep", "done"): 1, ("echo", "done"): 2}

    on_board(tmp_path, test)


def test_a_job_tells_its_stages_and_its_pieces_to_who_follows_it(tmp_path: Path) -> None:
    async def test(board: JobBoard) -> None:
        job = board.submit("echo", lane="first", arguments={"text": "a"})
        events = [(event, job.stage, job.state) async for event in job.follow()]
        assert events[0] == (None, "", "queued")
        assert ({"text": "a"}, "thinking", "running") in events or ({"text": "a"}, "", "done") in events
        assert events[-1] == (None, "", "done")

    on_board(tmp_path, test)


def test_a_full_queue_refuses_and_says_when_to_come_again(tmp_path: Path) -> None:
    async def test(board: JobBoard) -> None:
        await ready(board)
        jobs = [board.submit("sleep", lane="first", arguments={"seconds": 5}) for _ in range(4)]
        with pytest.raises(ServerFull, match="Try again in 1 seconds"):
            board.submit("sleep", lane="first", arguments={"seconds": 5})
        for job in reversed(jobs):
            board.cancel(job)
        await asyncio.gather(*(job.finished.wait() for job in jobs))
        assert [job.state for job in jobs] == ["cancelled"] * 4
        assert board.restarts == 0

    on_board(tmp_path, test)


def test_errors_of_ours_come_whole_but_without_paths_and_others_by_their_class_alone(tmp_path: Path) -> None:
    async def test(board: JobBoard) -> None:
        refused, stumbled = (board.submit(kind, lane="first", arguments={}) for kind in ("refuse", "stumble"))
        await stumbled.finished.wait()
        assert refused.error is not None
        assert stumbled.error is not None
        assert (refused.state, refused.error.kind, refused.error.message) == ("failed", "InputError", "it makes no sense. Ask otherwise.")
        assert stumbled.error.kind == "ValueError"
        assert "Doe" not in f"{refused.error}{stumbled.error}"

    on_board(tmp_path, test)


def test_a_dead_worker_costs_its_job_and_is_replaced(tmp_path: Path) -> None:
    async def test(board: JobBoard) -> None:
        dying = board.submit("die", lane="first", arguments={})
        after = board.submit("echo", lane="first", arguments={"text": "a"})
        await after.finished.wait()
        assert dying.error is not None
        assert (dying.error.kind, after.result, board.restarts) == ("WorkerKilled", "A", 1)

    on_board(tmp_path, test)


def test_a_job_that_takes_too_long_ends_and_what_ran_beside_it_runs_again(tmp_path: Path) -> None:
    async def test(board: JobBoard) -> None:
        hanging = board.submit("hang", lane="first", arguments={})
        await asyncio.sleep(0)
        while hanging.state == "queued":
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.7)
        beside = board.submit("sleep", lane="second", arguments={"seconds": 0.5})
        await asyncio.gather(hanging.finished.wait(), beside.finished.wait())  # on a busy machine either may be the first
        assert hanging.error is not None
        assert (hanging.error.kind, hanging.error.detail) == ("JobLimitExceeded", "took more than 1 seconds")
        assert beside.result == "slept"

    on_board(tmp_path, test, seconds=1.0)


def test_a_job_that_takes_too_much_memory_ends(tmp_path: Path) -> None:
    async def test(board: JobBoard) -> None:
        job = board.submit("fill", lane="first", arguments={"size": 400 * MIB})
        await job.finished.wait()
        assert job.error is not None
        assert job.error.kind == "JobLimitExceeded"
        assert "bytes of memory" in job.error.detail

    on_board(tmp_path, test, memory_bytes=200 * MIB)


def test_a_cancelled_job_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    async def test(board: JobBoard) -> None:
        job = board.submit("hang", lane="first", arguments={}, scan="s")
        while job.state == "queued":
            await asyncio.sleep(0.01)
        board.cancel_scan("s")
        await job.finished.wait()
        assert job.state == "cancelled"
        assert 5 < job.seconds() < 30

    on_board(tmp_path, test)


def test_a_job_whose_end_cannot_be_kept_has_failed_and_nobody_waits_for_it(tmp_path: Path) -> None:
    def conclude(job: Job) -> None:
        raise OSError(28, "No space left on device", "/secret")

    async def test(board: JobBoard) -> None:
        job = board.submit("echo", lane="first", arguments={"text": "a"}, conclude=conclude)
        await job.finished.wait()
        assert job.state == "failed"
        assert job.error is not None
        assert (job.error.kind, "secret" in job.error.message) == ("OSError", False)
        assert board.counts == {("echo", "failed"): 1}

    on_board(tmp_path, test)


def test_what_cannot_be_loaded_fails_all_jobs_with_the_reason(tmp_path: Path) -> None:
    async def test(board: JobBoard) -> None:
        job = board.submit("echo", lane="first", arguments={"text": "a"})
        await job.finished.wait()
        later = board.submit("echo", lane="first", arguments={"text": "a"})
        assert board.problem == job.error == later.error
        assert board.problem is not None
        assert (board.problem.kind, board.problem.message) == ("ModelFolderInvalid", "is no model. Give one.")
        assert not board.is_ready

    on_board(tmp_path, test, equip=crews.cannot_equip)


def test_a_process_that_never_starts_is_given_up(tmp_path: Path) -> None:
    async def test(board: JobBoard) -> None:
        job = board.submit("echo", lane="first", arguments={"text": "a"})
        await job.finished.wait()
        assert job.error is not None
        assert job.error.detail == "a worker process ended 3 times as it started (exit status 9)"

    on_board(tmp_path, test, equip=crews.dies_at_start)


def test_workers_write_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def test(board: JobBoard) -> None:
        job = board.submit("chatter", lane="first", arguments={})
        await job.finished.wait()
        assert job.result == "said"

    on_board(tmp_path, test)
    assert "Doe" not in "".join(capfd.readouterr())


def test_jobs_of_a_server_that_was_killed_are_lost_and_say_so(tmp_path: Path) -> None:
    first = JobJournal(tmp_path)
    first.begin("a", kind="read", scan="s")
    first.begin("b", kind="read", scan="t")
    first.end("a")

    async def test(board: JobBoard) -> None:
        with pytest.raises(UnknownId):
            board.job("a")
        status = board.status(board.job("b"))
        assert (status.state, status.scan, status.error and status.error.kind) == ("failed", "t", "JobLost")

    on_board(tmp_path, test)


def test_nothing_outlives_the_board(tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))

    async def test(board: JobBoard) -> None:
        job = board.submit("hang", lane="first", arguments={})
        while job.state == "queued":
            await asyncio.sleep(0.01)

    on_board(tmp_path, test)
    assert not [
        child
        for child in psutil.Process().children(recursive=True)
        if child not in before and "resource_tracker" not in str(child.cmdline())
    ]

"""Listeners of a job hear all of it, in order, and no listener holds another up."""

from __future__ import annotations

import asyncio

from thoracle.serving.jobs.job import Job


def job() -> Job:
    return Job(id="j", kind="chat", lane="models", scan="s", arguments={})


def test_two_listeners_hear_the_same_and_the_end() -> None:
    async def run() -> None:
        followed = job()

        async def listen() -> list[str]:
            return [event["text"] async for event in followed.follow() if event is not None]

        listeners = [asyncio.create_task(listen()) for _ in range(2)]
        await asyncio.sleep(0)
        for text in "abc":
            followed.publish({"text": text})
        followed.state = "done"
        followed.publish()
        assert await asyncio.gather(*listeners) == [["a", "b", "c"]] * 2

    asyncio.run(run())


def test_who_comes_late_hears_of_the_end_alone() -> None:
    async def run() -> None:
        ended = job()
        ended.state = "failed"
        assert [event async for event in ended.follow()] == [None]

    asyncio.run(run())


def test_seconds_stop_with_the_job() -> None:
    async def run() -> None:
        ended = job()
        ended.ended = ended.submitted + 2.5
        assert ended.seconds() == 2.5

    asyncio.run(run())

"""A worker process loads, works, and ends with its owner, however that ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import Any

import psutil

from tests.serving.jobs import crews
from thoracle.serving.jobs.process import WorkerProcess

_OWNER = """
import asyncio, os
from tests.serving.jobs import crews
from thoracle.serving.jobs.process import WorkerProcess

async def run():
    told = asyncio.Queue()
    process = WorkerProcess(crews.equip, on_message=lambda process, message: told.put_nowait(message))
    assert (await told.get())[0] == "ready"
    process.order("j", "first", "hang", {})
    print("working", flush=True)
    await asyncio.sleep(600)

if __name__ == "__main__":
    asyncio.run(run())
"""


def test_a_process_says_what_it_loaded_and_answers_orders() -> None:
    async def run() -> None:
        messages: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        process = WorkerProcess(crews.equip, on_message=lambda process, message: messages.put_nowait(message))
        assert await messages.get() == ("ready", {"loaded": True})
        process.order("j", "first", "echo", {"text": "a"})
        assert [await messages.get() for _ in range(3)] == [("stage", "j", "thinking"), ("event", "j", {"text": "a"}), ("done", "j", "A")]
        assert process.memory() >= process.own_memory() > 1 << 20
        process.kill()
        assert await messages.get() == ("ended",)
        assert process.ending() == "signal 9"
        process.close()

    asyncio.run(run())


def test_a_killed_owner_leaves_no_worker(tmp_path: Any) -> None:
    script = tmp_path / "owner.py"
    script.write_text(_OWNER)
    paths = os.pathsep.join([os.getcwd(), *sys.path])
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "working\n"
        children = psutil.Process(owner.pid).children(recursive=True)
        assert children
        owner.send_signal(signal.SIGKILL)
    end = time.monotonic() + 30
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        assert time.monotonic() < end, children
        time.sleep(0.05)

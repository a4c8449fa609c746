"""Own a worker process from the server's event loop: start it, order jobs, hear of them, and end it."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil

from thoracle.serving.jobs.worker import Equip, run_worker

#: Takes the process and a message of it: ("ready", facts), ("broken", error), ("stage" | "event" | "done" | "failed", job, …), ("ended",).
OnMessage = Callable[["WorkerProcess", tuple[Any, ...]], None]


class WorkerProcess:
    """Hold one worker process; `on_message` is called in the event loop that made it.

    Attributes:
        ready: whether it has loaded what it needs.
    """

    def __init__(self, equip: Equip, *, on_message: OnMessage) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, remote = context.Pipe()
        self._process = context.Process(target=run_worker, args=(remote, equip), daemon=True)
        with remote:
            self._process.start()
        self.ready = False
        self._on_message, self._loop, self._ended = on_message, asyncio.get_running_loop(), False
        threading.Thread(target=self._listen, daemon=True).start()

    def order(self, job: str, lane: str, kind: str, arguments: dict[str, Any]) -> None:
        """Give it a job; a process that is dead says so by its ending."""
        with suppress(OSError):
            self._connection.send(("run", job, lane, kind, arguments))

    def cancel(self, job: str) -> None:
        """Ask a job to end."""
        with suppress(OSError):
            self._connection.send(("cancel", job))

    def kill(self) -> None:
        """End it at once, with the processes that it started."""
        with suppress(psutil.Error):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                child.kill()
        self._process.kill()

    def close(self) -> None:
        """End it, and wait until it has."""
        self._ended = True
        self.kill()
        self._process.join()
        self._connection.close()

    def ending(self) -> str:
        """Say how it ended."""
        self._process.join(timeout=5)
        code = self._process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"exit status {code}"

    def own_memory(self) -> int:
        """Return the bytes that it holds itself: to find its children takes a look at all processes of the machine, which is slow."""
        with suppress(psutil.Error):
            return int(psutil.Process(self._process.pid).memory_info().rss)
        return 0

    def memory(self) -> int:
        """Return the bytes that it and the processes that it started hold; 0 once they have ended."""
        with suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
        return 0

    def _listen(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                message = ("ended",)
            if self._ended:
                return
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._on_message, self, message)
            if message == ("ended",):
                return

"""Run jobs in a worker process: one at a time in each lane, until the server hangs up."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Final

from thoracle.errors import JobCancelled
from thoracle.execution.executor import attempt
from thoracle.execution.local import follow_parent
from thoracle.serving.refusals import error_body

#: Cancels a job that asks whether it may go on.
_CANCELLED: Final = ("cancelled", "Start it again if it is needed.")


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """Let a job tell what it is doing, and hear that it is not wanted any more.

    Attributes:
        report: takes a stage in words.
        emit: takes an event of a job that answers in pieces.
        cancelled: set where the job is to end.
    """

    report: Callable[[str], None]
    emit: Callable[[Mapping[str, Any]], None]
    cancelled: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise JobCancelled where the job is to end."""
        if self.cancelled.is_set():
            raise JobCancelled(_CANCELLED[0], hint=_CANCELLED[1])


#: A job's function: takes its context and its arguments by name, and returns what pickles.
JobFunction = Callable[..., Any]
#: Loads what jobs need, and returns the functions of each lane by kind of job, and facts for the server.
Equip = Callable[[], tuple[Mapping[str, Mapping[str, JobFunction]], Mapping[str, Any]]]


def run_worker(connection: Connection, equip: Equip) -> None:
    """Load, say so, then run jobs until the server hangs up; the process never outlives the server."""
    follow_parent()
    _silence()
    lock = threading.Lock()

    def send(*message: Any) -> None:
        with lock, suppress(OSError):
            connection.send(message)

    equipment, error = attempt(equip)
    if equipment is None:
        assert error is not None, "what could not be loaded raised"
        send("broken", error_body(error))
        return
    lanes, facts = equipment
    contexts: dict[str, JobContext] = {}
    queues: dict[str, SimpleQueue[tuple[str, str, dict[str, Any]]]] = {lane: SimpleQueue() for lane in lanes}
    for lane, functions in lanes.items():
        threading.Thread(target=_run_lane, args=(queues[lane], functions, contexts, send), daemon=True).start()
    send("ready", facts)
    with suppress(EOFError, OSError):
        while True:
            order, job, *rest = connection.recv()
            if order == "cancel":
                if job in contexts:
                    contexts[job].cancelled.set()
                continue
            lane, kind, arguments = rest
            contexts[job] = JobContext(report=partial(send, "stage", job), emit=partial(send, "event", job))
            queues[lane].put((job, kind, arguments))
    os._exit(0)  # a job that goes on would hold the process


def _run_lane(
    queue: SimpleQueue[tuple[str, str, dict[str, Any]]],
    functions: Mapping[str, JobFunction],
    contexts: dict[str, JobContext],
    send: Callable[..., None],
) -> None:
    while True:
        job, kind, arguments = queue.get()
        output, error = attempt(partial(functions[kind], contexts[job], **arguments))
        del contexts[job]
        if error is None:
            send("done", job, output)
        else:
            send("failed", job, error_body(error))


def _silence() -> None:
    """Write nothing: libraries quote header values, which can be names, in their logs and warnings."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)

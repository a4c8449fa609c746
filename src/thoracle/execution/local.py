"""Run one function over many items in several processes of this machine.

Each worker has a pipe of its own and one item at a time, so a worker that dies names the item that it was at.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any, Final, Generic, cast

from thoracle.errors import InputError, WorkerKilled
from thoracle.execution.executor import Item, ItemOutcome, Output, attempt

_TRIES: Final = 2
#: What workers read when they start: linear algebra stays on their own core, and memory is kept for the next volume (glibc hands large
#: blocks back to the system and has their pages zeroed again, a sixth of the time of tiny phantoms).
_ENVIRONMENT: Final = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    **dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(1 << 28)),
}


@dataclass(frozen=True, kw_only=True)
class LocalExecutor:
    """Run items in worker processes; with one worker, or one item, in this process.

    Workers leave Ctrl-C to the caller and do not outlive it, even if it is killed.

    Attributes:
        workers: how many processes.

    Raises:
        InputError: fewer than one worker.
    """

    workers: int

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"workers must be 1 or more, is {self.workers}", hint="Say how many processes.")

    def map(
        self, make_worker: Callable[[], Callable[[Item], Output]], items: Iterable[Item]
    ) -> Generator[ItemOutcome[Item, Output], None, None]:
        """Implement `Executor.map`; in this process nothing is pickled, and a death is that of the caller."""
        remaining = (_Task(index=index, item=item) for index, item in enumerate(items))
        first = list(islice(remaining, min(self.workers, 2)))
        tasks = chain(first, remaining)
        if len(first) == 1:
            yield from _map_in_this_process(make_worker, tasks)
        elif first:
            pool = _Pool(make_worker, tasks)
            try:
                yield from pool.run(self.workers)
            finally:
                pool.close()


@dataclass(frozen=True, kw_only=True)
class _Task(Generic[Item]):
    """Hold an item, its position, and how many workers were given it."""

    index: int
    item: Item
    tries: int = 1


def _map_in_this_process(
    make_worker: Callable[[], Callable[[Item], Output]], tasks: Iterator[_Task[Item]]
) -> Iterator[ItemOutcome[Item, Output]]:
    function = make_worker()
    for task in tasks:
        output, error = attempt(partial(function, task.item))
        yield ItemOutcome(index=task.index, item=task.item, output=output, error=error)


class _Pool(Generic[Item, Output]):
    """Keep worker processes busy and replace those that die."""

    def __init__(self, make_worker: Callable[[], Callable[[Item], Output]], tasks: Iterator[_Task[Item]]) -> None:
        self._make_worker, self._tasks = make_worker, tasks
        self._busy: dict[Any, _Worker[Item]] = {}
        self._idle: list[_Worker[Item]] = []

    def run(self, count: int) -> Iterator[ItemOutcome[Item, Output]]:
        """Start up to `count` workers and yield outcomes; a worker has its next item before an outcome is yielded."""
        for task in islice(self._tasks, count):
            self._start(task)
        while self._busy:
            for connection in wait(list(self._busy)):
                outcome = self._advance(self._busy[connection])
                if outcome is not None:
                    yield outcome

    def close(self) -> None:
        """Let each worker finish its item, and wait for its end."""
        workers = [*self._busy.values(), *self._idle]
        for worker in workers:
            worker.connection.close()
        for worker in workers:
            worker.process.join()

    def _start(self, task: _Task[Item]) -> None:
        worker = _Worker(self._make_worker, task)
        self._busy[worker.connection] = worker

    def _advance(self, worker: _Worker[Item]) -> ItemOutcome[Item, Output] | None:
        """Take one message of a worker, or its death."""
        task, reply = worker.task, worker.receive()
        if reply is None:
            return self._replace(worker)
        output, error = reply
        if not worker.is_ready:
            if error is not None:
                raise error
            worker.is_ready = True
            worker.submit(task)
            return None
        following = next(self._tasks, None)
        if following is not None:
            worker.submit(following)
        else:
            self._idle.append(self._busy.pop(worker.connection))
        return ItemOutcome(index=task.index, item=task.item, output=output, error=error)

    def _replace(self, worker: _Worker[Item]) -> ItemOutcome[Item, Output] | None:
        """Start another worker at the same item, or at the next if this one had its tries."""
        del self._busy[worker.connection]
        error, task = worker.death(), worker.task
        if not worker.is_ready:
            raise error
        if task.tries < _TRIES:
            self._start(replace(task, tries=task.tries + 1))
            return None
        following = next(self._tasks, None)
        if following is not None:
            self._start(following)
        return ItemOutcome(index=task.index, item=task.item, error=error)


class _Worker(Generic[Item]):
    """Own a process, this end of its pipe, and the item that it is at."""

    def __init__(self, make_worker: Callable[[], Callable[[Item], object]], task: _Task[Item]) -> None:
        context = multiprocessing.get_context("spawn")  # no thread of the caller is forked
        self.connection, remote = context.Pipe()
        self.process = context.Process(target=_serve, args=(remote, make_worker), daemon=True)
        with remote, _worker_environment():
            self.process.start()
        self.task = task
        self.is_ready = False

    def submit(self, task: _Task[Item]) -> None:
        """Send an item to a worker that waits for one; if it is dead, its missing reply tells."""
        self.task = task
        with suppress(OSError):
            self.connection.send_bytes(pickle.dumps(task.item))

    def receive(self) -> tuple[Any, Exception | None] | None:
        """Return the output or error of the item, or None if the worker is dead."""
        try:
            content = self.connection.recv_bytes()
        except (EOFError, OSError):
            return None
        reply: tuple[Any, Exception | None] = pickle.loads(content)  # noqa: S301  # of our own worker
        return reply

    def death(self) -> WorkerKilled:
        """Return an error that names how the process ended."""
        self.connection.close()
        self.process.join()
        status = self.process.exitcode or 0
        ending = f"signal {-status}" if status < 0 else f"exit status {status}"
        if not self.is_ready:
            return WorkerKilled(f"a worker ended as it started ({ending})", hint="Run it again with fewer --workers.")
        detail = f"its worker was killed at {self.task.tries} of {_TRIES} tries ({ending})"
        return WorkerKilled(detail, hint="Memory may be short: run it again with fewer --workers; what is done is kept.")


@contextmanager
def _worker_environment() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, make_worker: Callable[[], Callable[[Any], object]]) -> None:
    """Say in a worker that it is ready, then answer each item until the caller hangs up."""
    follow_parent()
    function, error = attempt(make_worker)
    with connection, suppress(EOFError, OSError):
        connection.send_bytes(_pack_error(error) if error is not None else pickle.dumps((None, None)))
        while function is not None:
            content = connection.recv_bytes()
            connection.send_bytes(_reply(function, content))


def _reply(function: Callable[[Any], object], content: bytes) -> bytes:
    """Return the pickled output; one that cannot be pickled is an error like any other."""
    reply, error = attempt(lambda: pickle.dumps((function(pickle.loads(content)), None)))  # noqa: S301  # of our own parent
    return _pack_error(error) if error is not None else cast(bytes, reply)


def _pack_error(error: Exception) -> bytes:
    """Return an error pickled with its traceback as a note; one that would not unpickle becomes a RuntimeError with its text."""
    note = "".join(traceback.format_exception(error))
    error.add_note(note)
    reply, failure = attempt(lambda: _pickle_checked((None, error)))
    if failure is not None:
        substitute = RuntimeError(f"{type(error).__name__}: {error}")
        substitute.add_note(note)
        reply = pickle.dumps((None, substitute))
    return cast(bytes, reply)


def _pickle_checked(reply: tuple[None, Exception]) -> bytes:
    content = pickle.dumps(reply)
    pickle.loads(content)  # noqa: S301  # written above
    return content


def follow_parent() -> None:
    """Leave Ctrl-C to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a worker"
    Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)

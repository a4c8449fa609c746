"""One job done again and again by several processes, outcomes as they come; knows no job."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Final, TypeVar

from thoracle.errors import CohortError

Task = TypeVar("Task")
Result = TypeVar("Result")

_AHEAD: Final = 4  # tasks that wait for each worker
#: What workers read when they start: linear algebra stays on their own core, and memory is kept for the next volume (glibc hands large
#: blocks back to the system and has their pages zeroed again, a sixth of the time of tiny phantoms).
_ENVIRONMENT: Final = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    **dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(1 << 28)),
}


def in_parallel(job: Callable[[Task], Result], tasks: Sequence[Task], *, workers: int) -> Iterator[list[Result]]:
    """What `job` gives for each task, in the order in which they end; a bounded number wait at a time.

    Workers leave Ctrl-C to the caller and do not outlive it, even if it is killed. With one worker or task there is no other process.

    Raises:
        CohortError: a worker was killed.
    """
    if workers == 1 or len(tasks) < 2:
        yield from ([job(task)] for task in tasks)
        return
    context = multiprocessing.get_context("spawn")  # no thread of the caller is forked
    with _environment_of_workers(), ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_attend) as pool:
        waiting: set[Future[Result]] = set()
        try:
            for task in tasks:
                waiting.add(pool.submit(job, task))
                if len(waiting) >= _AHEAD * workers:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield [future.result() for future in done]
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield [future.result() for future in done]
        except BrokenProcessPool as error:
            raise CohortError(
                "a worker was killed, most likely for its memory", cure="Run it again with fewer --workers; what is done is kept."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _environment_of_workers() -> Iterator[None]:
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


def _attend() -> None:
    """In a worker: leave Ctrl-C to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a worker"
    Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)

"""The steps that tests compare, and two ranks that take them."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType

import pytest
import torch

Ranks = Callable[..., None]
#: Takes the name of a case of `plan_steps`; gives bytes by part, `planned` and `measured`.
PlannedSteps = Callable[[str], dict[str, int]]
StartRanks = Callable[..., AbstractContextManager[list[subprocess.Popen[str]]]]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Compute on one thread: sums of several end in another order elsewhere, and bits would differ for that alone.

    Of a module, so that its fixtures that train compute as its tests do.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def steps() -> ModuleType:
    """The module beside this file."""
    spec = importlib.util.spec_from_file_location("steps", Path(__file__).with_name("steps.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["steps"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def start_ranks() -> StartRanks:
    """Start a Python command on two ranks, or as many as are asked for, as torchrun would, over gloo; what is left at the end is killed."""

    @contextmanager
    def start(*arguments: object, count: int = 2) -> Iterator[list[subprocess.Popen[str]]]:
        shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_ports()), "OMP_NUM_THREADS": "1"}
        started = [
            subprocess.Popen(
                [sys.executable, *map(str, arguments)],
                env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            for rank in range(count)
        ]
        try:
            yield started
        finally:
            for process in started:
                process.kill()

    return start


def _free_ports(count: int = 32) -> int:
    """The first of so many free ports in a row, below those that the system gives to connections: nothing takes one of them meanwhile."""
    while True:
        first = random.randrange(15_000, 30_000)
        with ExitStack() as stack, suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


@pytest.fixture(scope="session")
def ranks(start_ranks: StartRanks) -> Ranks:
    """Run a Python command on two ranks, or as many as are asked for, to a good end."""

    def run(*arguments: object, count: int = 2) -> None:
        with start_ranks(*arguments, count=count) as started:
            printed = [process.communicate(timeout=400)[0] for process in started]
            assert [process.returncode for process in started] == [0] * count, "\n".join(printed)

    return run


@pytest.fixture(scope="session")
def planned_steps() -> PlannedSteps:
    """Plan a run and take two steps of it in a process of its own, whose memory is measured."""

    def run(name: str) -> dict[str, int]:
        told = [sys.executable, "-m", "tests.training.plan_steps", name]
        done = subprocess.run(told, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
        figures: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
        return figures

    return run

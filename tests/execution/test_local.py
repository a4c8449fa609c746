from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import psutil
import pytest

from thoracle.errors import InputError, TruncatedFile, WorkerKilled
from thoracle.execution.local import LocalExecutor


class Square:
    """Squares numbers; notes each time that it is made."""

    def __init__(self, log: Path | None = None) -> None:
        if log is not None:
            with log.open("a") as file:
                file.write(f"{os.getpid()}\n")

    def __call__(self, number: int) -> int:
        return number * number


class Fatal:
    """Notes each item that it begins, and kills its process at some: always, or where `once` is a file, only the first time."""

    def __init__(self, log: Path, *, deadly: int, once: Path | None = None) -> None:
        self.log, self.deadly, self.once = log, deadly, once

    def __call__(self, number: int) -> int:
        with self.log.open("a") as file:
            file.write(f"{number}\n")
        if number == self.deadly and (self.once is None or not self.once.exists()):
            if self.once is not None:
                self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)
        return number


class Custom(Exception):
    """Can be pickled and not unpickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def _whoami() -> Callable[[object], tuple[int, str]]:
    return lambda _: (os.getpid(), os.environ["OMP_NUM_THREADS"])


def _fail(number: int) -> object:
    if number == 1:
        raise TruncatedFile("too short", hint="Copy it again.", source="a.nii")
    if number == 2:
        raise Custom("two", "words")
    if number == 3:
        return lambda: None  # which does not pickle
    return number


def _failing() -> Callable[[int], object]:
    return _fail


def _no_model() -> Callable[[int], int]:
    raise TruncatedFile("no weights", hint="Fetch it again.")


def _die() -> Callable[[int], int]:
    os._exit(7)


def _read_numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


@pytest.mark.parametrize("workers", [1, 2])
def test_each_item_has_its_outcome(workers: int) -> None:
    outcomes = sorted(LocalExecutor(workers=workers).map(Square, range(5, 16)), key=lambda outcome: outcome.index)
    assert [(outcome.index, outcome.item, outcome.output, outcome.error) for outcome in outcomes] == [
        (index, index + 5, (index + 5) ** 2, None) for index in range(11)
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_is_made_once_a_process_and_not_for_nothing(workers: int, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert list(LocalExecutor(workers=workers).map(partial(Square, log), [])) == []
    assert not log.exists()
    list(LocalExecutor(workers=workers).map(partial(Square, log), range(20)))
    pids = _read_numbers(log)
    assert len(pids) == len(set(pids)) == workers


def test_one_worker_is_this_process_and_two_have_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    for workers, items in ((1, 2), (2, 1)):
        outcomes = list(LocalExecutor(workers=workers).map(_whoami, range(items)))
        assert [outcome.output for outcome in outcomes] == [(os.getpid(), "7")] * items
    outputs = [outcome.output_or_raise() for outcome in LocalExecutor(workers=2).map(_whoami, range(6))]
    assert os.getpid() not in {pid for pid, _ in outputs}
    assert {threads for _, threads in outputs} == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_are_values(workers: int) -> None:
    outcomes = {outcome.index: outcome for outcome in LocalExecutor(workers=workers).map(_failing, range(5))}
    assert (outcomes[0].output, outcomes[4].output) == (0, 4)
    assert str(outcomes[1].error) == "a.nii: too short. Copy it again."
    with pytest.raises(TruncatedFile):
        outcomes[1].output_or_raise()
    assert "two words" in str(outcomes[2].error)


def test_what_does_not_cross_processes_is_an_error_with_its_traceback() -> None:
    outcomes = {outcome.index: outcome for outcome in LocalExecutor(workers=2).map(_failing, range(5))}
    assert type(outcomes[2].error) is RuntimeError
    assert "Custom: two words" in str(outcomes[2].error)
    assert "pickle" in str(outcomes[3].error)
    assert "in _fail" in outcomes[2].error.__notes__[0]


def test_a_killed_worker_costs_its_item_one_try(tmp_path: Path) -> None:
    make_worker = partial(Fatal, tmp_path / "log", deadly=3, once=tmp_path / "once")
    outcomes = list(LocalExecutor(workers=2).map(make_worker, range(20)))
    assert sorted(outcome.output_or_raise() for outcome in outcomes) == list(range(20))
    assert Counter(_read_numbers(tmp_path / "log")) == Counter([3, *range(20)])


def test_an_item_that_kills_two_workers_is_an_error_and_the_others_finish(tmp_path: Path) -> None:
    outcomes = list(LocalExecutor(workers=2).map(partial(Fatal, tmp_path / "log", deadly=3), range(20)))
    assert sorted(outcome.output for outcome in outcomes if outcome.error is None) == [n for n in range(20) if n != 3]
    (killed,) = (outcome for outcome in outcomes if outcome.error is not None)
    assert (killed.index, killed.item) == (3, 3)
    assert isinstance(killed.error, WorkerKilled)
    assert "worker was killed at 2 of 2 tries (signal 9)" in str(killed.error)
    assert "fewer --workers" in str(killed.error)
    assert Counter(_read_numbers(tmp_path / "log")) == Counter([3, *range(20)])


def test_the_last_items_may_kill_too(tmp_path: Path) -> None:
    outcomes = list(LocalExecutor(workers=2).map(partial(Fatal, tmp_path / "log", deadly=1), range(2)))
    assert {outcome.index: type(outcome.error) for outcome in outcomes} == {0: type(None), 1: WorkerKilled}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_cannot_be_made_stops_the_run(workers: int) -> None:
    with pytest.raises(TruncatedFile, match="no weights"):
        list(LocalExecutor(workers=workers).map(_no_model, range(4)))


def test_a_worker_that_dies_as_it_starts_stops_the_run() -> None:
    with pytest.raises(WorkerKilled, match=r"as it started \(exit status 7\)"):
        list(LocalExecutor(workers=2).map(_die, range(4)))


def test_items_are_read_as_workers_become_free() -> None:
    read = []

    def items() -> Iterator[int]:
        for number in range(1000):
            read.append(number)
            yield number

    with closing(LocalExecutor(workers=2).map(Square, items())) as outcomes:
        for _ in range(10):
            next(outcomes)
        assert len(read) <= 12
    assert not [child for child in psutil.Process().children() if "multiprocessing.spawn" in " ".join(child.cmdline())]


def test_items_and_outputs_may_be_larger_than_a_pipe_holds() -> None:
    outcomes = list(LocalExecutor(workers=2).map(_doubling, [bytes(1 << 22)] * 6))
    assert [len(outcome.output_or_raise()) for outcome in outcomes] == [1 << 23] * 6


def _doubling() -> Callable[[bytes], bytes]:
    return lambda content: content * 2


def test_fewer_than_one_worker_is_refused() -> None:
    with pytest.raises(InputError, match="workers must be 1 or more, is 0"):
        LocalExecutor(workers=0)


def test_workers_do_not_outlive_a_caller_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\n"
        "from thoracle.execution.local import LocalExecutor\n"
        "def work(number):\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(600)\n"
        "def make():\n"
        "    return work\n"
        "if __name__ == '__main__':\n"
        "    list(LocalExecutor(workers=2).map(make, range(10)))\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        workers = [psutil.Process(int(caller.stdout.readline())) for _ in range(2)]
        caller.kill()
    assert psutil.wait_procs(workers, timeout=60)[1] == []


def test_a_caller_that_fails_without_closing_ends(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from thoracle.execution.local import LocalExecutor\n"
        "def make():\n"
        "    return abs\n"
        "if __name__ == '__main__':\n"
        "    for outcome in LocalExecutor(workers=2).map(make, range(100)):\n"
        "        raise OSError('disk full')\n"
    )
    caller = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert caller.returncode == 1
    assert caller.stderr.strip().endswith("OSError: disk full")


def test_ctrl_c_ends_the_caller_and_its_workers(tmp_path: Path) -> None:
    """The terminal sends it to all of them; the caller alone answers."""
    script = tmp_path / "script.py"
    script.write_text(
        "import signal, time\n"
        "from thoracle.execution.local import LocalExecutor\n"
        "def work(number):\n"
        "    time.sleep(0.1)\n"
        "def make():\n"
        "    return work\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored\n"
        "    for outcome in LocalExecutor(workers=2).map(make, range(10_000)):\n"
        "        print(outcome.index, flush=True)\n"
    )
    caller = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert caller.stdout is not None
    first = {"0\n", "1\n"}  # both workers run
    while first:
        first.discard(caller.stdout.readline())
    os.killpg(caller.pid, signal.SIGINT)
    _, message = caller.communicate(timeout=60)
    assert message.count("Traceback") == 1
    assert message.strip().endswith("KeyboardInterrupt")

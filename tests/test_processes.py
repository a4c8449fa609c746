from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from thoracle.errors import CohortError
from thoracle.processes import in_parallel


def _square(number):
    return number * number


def _who(_):
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


def _die(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_has_its_result(workers):
    results = [result for some in in_parallel(_square, range(11), workers=workers) for result in some]
    assert sorted(results) == [number * number for number in range(11)]


def test_one_worker_is_this_process_and_two_have_one_thread_each(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert [result for results in in_parallel(_who, range(2), workers=1) for result in results] == [(os.getpid(), "7")] * 2
    others = [result for results in in_parallel(_who, range(6), workers=2) for result in results]
    assert os.getpid() not in {pid for pid, _ in others}
    assert {threads for _, threads in others} == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_worker_that_is_killed_is_an_error_that_says_what_to_do():
    with pytest.raises(CohortError, match="fewer --workers"):
        list(in_parallel(_die, range(20), workers=2))


def test_workers_do_not_outlive_a_caller_that_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\n"
        "from thoracle.processes import in_parallel\n"
        "def work(number):\n"
        "    time.sleep(0.1)\n"
        "    return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    for pids in in_parallel(work, range(10_000), workers=2):\n"
        "        print(*pids, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as caller:
        pids = set()
        while len(pids) < 2:
            pids |= set(map(int, caller.stdout.readline().split()))
        workers = [psutil.Process(pid) for pid in pids]
        caller.kill()
    assert psutil.wait_procs(workers, timeout=60)[1] == []


def test_ctrl_c_ends_the_caller_and_its_workers(tmp_path):
    """The terminal sends it to all of them; the caller alone answers."""
    script = tmp_path / "script.py"
    script.write_text(
        "import signal, time\n"
        "from thoracle.processes import in_parallel\n"
        "def work(number):\n"
        "    time.sleep(0.1)\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored\n"
        "    for _ in in_parallel(work, range(10_000), workers=2):\n"
        "        print(flush=True)\n"
    )
    caller = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    caller.stdout.readline()
    time.sleep(0.2)
    os.killpg(caller.pid, signal.SIGINT)
    _, said = caller.communicate(timeout=60)
    assert said.count("Traceback") == 1
    assert said.strip().endswith("KeyboardInterrupt")

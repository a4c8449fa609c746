"""Signals are noted where that is asked for, and handled as before after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

from thoracle.execution.stop_signals import STOP_SIGNALS, StopSignals


def test_signals_are_noted_within_and_handled_as_before_after() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with StopSignals() as stop:
        assert not stop.received
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.received
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
    caught: list[bool] = []

    def elsewhere() -> None:
        with StopSignals() as stop:
            caught.append(stop.received)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert caught == [False], "another thread cannot handle signals, and is not refused"


def test_a_process_that_left_its_group_is_not_reached_by_the_groups_signal() -> None:
    program = (
        "import os, sys, time; from thoracle.execution.stop_signals import leave_process_group\n"
        "if sys.argv[1] == 'leave': leave_process_group(0)\n"
        "print(os.getpgid(0) == os.getpid(), flush=True); sys.stdin.read()"
    )
    # A leader holds the group; the two others are of it.
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, process_group=0)
    group = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "process_group": sleeper.pid}
    stays, leaves = (subprocess.Popen([sys.executable, "-c", program, what], **group) for what in ("stay", "leave"))
    assert [process.stdout.readline().strip() for process in (stays, leaves)] == ["False", "True"]
    os.killpg(sleeper.pid, signal.SIGTERM)
    assert stays.wait(60) == -signal.SIGTERM
    assert sleeper.wait(60) == -signal.SIGTERM
    leaves.communicate(timeout=60)
    assert leaves.returncode == 0

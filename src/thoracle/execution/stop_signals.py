"""Notice the signals by which a scheduler ends a job, so that a run ends at a step's end with its state saved."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Final, Self

#: What a scheduler sends before it kills: at the end of the time, or to preempt. Windows has no SIGUSR1.
STOP_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


class StopSignals:
    """Note signals in place of dying of them; a context manager, which does so in the main thread alone.

    Attributes:
        received: one has come.
    """

    def __init__(self) -> None:
        self.received = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in STOP_SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = True


def leave_process_group(_: int) -> None:
    """Take a loader's worker out of the rank's process group: a signal to all of it would kill the workers, and their end the run."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)

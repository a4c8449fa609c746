"""Commands of `thoracle demo` that run beside its stages: one after the other, each in a process of its own, on half of the cores."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import typer


@dataclass(kw_only=True)
class Beside:
    """Run commands in turn, in the order in which they were given.

    Attributes:
        out: the demo's folder; what a command says is in its `logs`.
        threads: of each command.
    """

    out: Path
    threads: int
    _worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _ends: list[Future[None]] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None
    _starting: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    def run(self, name: str, arguments: Sequence[str]) -> None:
        """Say a command, and run it once those before it are done."""
        log = self.out / "logs" / f"{name.replace(' ', '-')}.txt"
        typer.echo(f"\n{typer.style(name, bold=True)}, meanwhile: {log}\n$ thoracle {' '.join(arguments)}")
        self._ends.append(self._worker.submit(self._run, name, arguments, log))

    def wait(self) -> None:
        """Wait for all commands.

        Raises:
            typer.Exit: one failed, whose words are printed; those after it did not run.
        """
        for end in self._ends:
            end.result()

    def stop(self) -> None:
        """End the command that runs, whose state it saves, and run no other."""
        with self._starting:
            self._stopped = True
        if self._process is not None:
            self._process.terminate()
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _run(self, name: str, arguments: Sequence[str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        command = [sys.executable, "-m", "thoracle", *arguments]
        with self._starting:
            if self._stopped:
                return
            with log.open("wb") as words:
                self._process = subprocess.Popen(command, stdout=words, stderr=subprocess.STDOUT, env=environment)
        status = self._process.wait()
        if status:
            self._stopped = True
            typer.echo(log.read_text("utf-8", errors="replace"), err=True, nl=False)
            raise typer.Exit(status)


@contextmanager
def commands_beside(out: Path) -> Iterator[Beside]:
    """Give half of the cores to commands that run beside what is done within; one that still runs at the end is stopped."""
    import torch

    threads = torch.get_num_threads()
    beside = Beside(out=out, threads=max(1, threads // 2))
    torch.set_num_threads(max(1, threads - beside.threads))
    try:
        yield beside
    finally:
        beside.stop()
        torch.set_num_threads(threads)

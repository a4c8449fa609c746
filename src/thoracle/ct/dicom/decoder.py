"""The parent's side of the decoding worker: compressed bytes in, frames out, and whatever befalls the worker as an error.

A codec over hostile bytes may crash, hang or take all memory; it does so in a process that is thrown away.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from thoracle.errors import BudgetExceeded, CodecCrashed, CorruptFile

#: `-P` keeps a module in the working directory, which came with the scan, from being imported.
WORKER: Final = (sys.executable, "-P", "-m", "thoracle.ct.dicom.worker")
FRAME_SECONDS: Final = 60.0  # a slice takes 0.05; the first waits for imports, on a busy machine or a network drive
MEMORY_MIB: Final = 640  # beyond the libraries; a frame of 4096 x 4096 decodes in 300
_HINT: Final = "Export the series again, or convert it where it was made: gdcmconv --raw IN OUT."
_NO_THREADS: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each thread takes address space from the budget


class Codestream(NamedTuple):
    """Say what a codestream tells of its samples, whatever the header says: their bits, whether they are signed; None where it does not."""

    bits: int | None = None
    signed: bool | None = None


class Decoder:
    """Decode one series in one worker process, started with the first frame and killed at the end of the block.

    Args:
        command: what to start; tests start processes that crash or hang.
        seconds: longest wait for one frame.
        mebibytes: memory the worker may take beyond its libraries.
    """

    def __init__(self, *, command: Sequence[str] = WORKER, seconds: float = FRAME_SECONDS, mebibytes: int = MEMORY_MIB) -> None:
        self._command = (*command, str(mebibytes))
        self._seconds = seconds
        self._mebibytes = mebibytes
        self._late = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()  # closes the pipes and reaps the process

    def frames(
        self, content: bytearray, *, count: int, shape: tuple[int, int], dtype: np.dtype[Any], source: str
    ) -> Iterator[tuple[NDArray[Any], Codestream]]:
        """Yield the frames (row, column) of one DICOM file, in stored order, as the codec left them.

        Raises:
            CorruptFile: the codec refused the bytes, or crashed (CodecCrashed).
            BudgetExceeded: it took longer than its time, or more than its memory.
        """
        request = {"length": len(content), "rows": shape[0], "columns": shape[1], "dtype": dtype.str}
        with self._within_time(source) as (requests, _):
            requests.write(json.dumps(request).encode() + b"\n")
            requests.write(content)
            requests.flush()
        for _ in range(count):
            frame = np.empty(shape, dtype)
            with self._within_time(source) as (_, answers):
                answer = json.loads(answers.readline())
                if answer["error"] is not None:
                    raise self._refused(answer["error"], source)
                if answers.readinto(frame.data.cast("B")) < frame.nbytes:  # type: ignore[attr-defined]
                    raise EOFError
            yield frame, Codestream(bits=answer["bits"], signed=answer["signed"])

    @contextmanager
    def _within_time(self, source: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        process = self._started()
        timer = threading.Timer(self._seconds, self._kill_late)
        timer.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            yield process.stdin, process.stdout
        except (BrokenPipeError, EOFError, json.JSONDecodeError) as error:
            raise self._died(process, source) from error
        finally:
            timer.cancel()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **_NO_THREADS},
                start_new_session=True,  # Ctrl-C is for the parent, which then kills
            )
        return self._process

    def _kill_late(self) -> None:
        self._late.set()
        if self._process is not None:
            self._process.kill()

    def _died(self, process: subprocess.Popen[bytes], source: str) -> CorruptFile:
        process.kill()
        status = process.wait()
        if self._late.is_set():
            return BudgetExceeded(f"its pixels did not decode within {self._seconds:g} s", hint=_HINT, source=source)
        return CodecCrashed(f"the codec crashed on its pixels (exit status {status})", hint=_HINT, source=source)

    def _refused(self, message: str, source: str) -> CorruptFile:
        if message.startswith(MemoryError.__name__):
            return BudgetExceeded(f"its pixels need more than {self._mebibytes} MiB to decode", hint=_HINT, source=source)
        reason = "".join(c for c in message if c.isprintable())[:200]
        return CorruptFile(f"its compressed pixels cannot be decoded ({reason})", hint=_HINT, source=source)

"""A run's checkpoints: written beside training, whole or absent, hashed, the last few and the best kept.

checkpoints/step-00001000/state.pt          weights, moments, each rank's own: tensors and plain types, opened as such
checkpoints/step-00001000/checkpoint.json   step, score, SHA-256 of state.pt
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self, cast

import torch

from thoracle.errors import CheckpointDamaged
from thoracle.files.atomic import replace_folder, sha256
from thoracle.files.json_file import load_json

FORMAT: Final = "thoracle.checkpoint/4"
_STATE: Final = "state.pt"
_ABOUT: Final = "checkpoint.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Describe a checkpoint that its description calls whole; `is_whole` compares the hash.

    Attributes:
        path: its folder.
        step: steps of the optimiser that were done.
        score: of its evaluation; None where there was none.
        sha256: of its state.
    """

    path: Path
    step: int
    score: float | None
    sha256: str

    def is_whole(self) -> bool:
        """Return whether the state is the file that was written; reads all of it."""
        state = self.path / _STATE
        return state.is_file() and sha256(state) == self.sha256

    def load(self, *, verify: bool = True) -> dict[str, Any]:
        """Load the state on the CPU, mapped from the file; without `verify` it is not hashed, as another rank has.

        Raises:
            CheckpointDamaged: the file is not the one that was written.
        """
        state = self.path / _STATE
        if verify and not self.is_whole():
            raise CheckpointDamaged("is not the file that was saved", hint="Delete its folder: the one before is used.", source=state)
        loaded: dict[str, Any] = torch.load(state, map_location="cpu", weights_only=True, mmap=True)
        return loaded


class CheckpointWriter:
    """Write checkpoints beside training, one at a time; a context manager, at whose end the last one is written.

    A write that fails is raised by whatever is asked next.
    """

    def __init__(self, folder: Path, *, keep_last: int) -> None:
        self._folder, self._keep_last = folder, keep_last
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[Checkpoint] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown()
        if error is None:
            self.wait()
        elif self.failed and self._pending is not None:
            _log.error("the last checkpoint was not written: %s", self._pending.exception())

    @property
    def failed(self) -> bool:
        """Return whether the last write has failed."""
        return self._pending is not None and self._pending.done() and self._pending.exception() is not None

    def save(self, state: Mapping[str, Any], *, step: int, score: float | None) -> None:
        """Begin to write a state, which nobody may change from now on; waits for the write before, and raises like `wait`."""
        self.wait()
        self._pending = self._pool.submit(save_checkpoint, self._folder, state, step=step, score=score, keep_last=self._keep_last)

    def wait(self) -> None:
        """Wait until nothing is being written.

        Raises:
            OSError: the disk is full or cannot be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


def save_checkpoint(folder: Path, state: Mapping[str, Any], *, step: int, score: float | None, keep_last: int) -> Checkpoint:
    """Write beside, flush to the disk, rename; then take away what is neither of the last nor the best.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    out = folder / f"step-{step:08d}"
    temporary = folder / f".{out.name}.{secrets.token_hex(4)}.tmp"
    temporary.mkdir(parents=True)
    try:
        checkpoint = Checkpoint(path=out, step=step, score=score, sha256=_write_state(temporary / _STATE, state))
        about = {"format": FORMAT, **asdict(checkpoint)}
        del about["path"]
        (temporary / _ABOUT).write_text(json.dumps(about, indent=1) + "\n")
        replace_folder(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _retain(folder, keep_last)
    return checkpoint


def last_whole(folder: Path) -> Checkpoint | None:
    """Find the last checkpoint that is whole; one that is damaged is passed over, and said. None where there is none."""
    for checkpoint in reversed(checkpoints(folder)):
        if checkpoint.is_whole():
            return checkpoint
        _log.warning("%s is not the file that was saved: the one before is used", checkpoint.path / _STATE)
    return None


def checkpoints(folder: Path) -> list[Checkpoint]:
    """List checkpoints by step, without those that a killed process left unfinished."""
    states = [_read(path) for path in folder.glob("step-*")]
    return sorted((checkpoint for checkpoint in states if checkpoint is not None), key=lambda checkpoint: checkpoint.step)


def best(saved: list[Checkpoint]) -> Checkpoint:
    """Return the checkpoint of the highest score, the later of equals; the last where none has a score."""
    return max(saved, key=lambda checkpoint: (float("-inf") if checkpoint.score is None else checkpoint.score, checkpoint.step))


def clean(folder: Path) -> None:
    """Take away what killed processes left half-written or half-deleted."""
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)


class _HashedFile:
    """Hash what torch.save writes, which it does from the first byte to the last."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, content: bytes | memoryview) -> int:
        """Write and hash; torch tells of an error that something failed, so it is kept."""
        self._digest.update(content)
        try:
            return self._file.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Do what the file does."""
        self._file.flush()

    def hexdigest(self) -> str:
        """Return the hash of all that was written."""
        return self._digest.hexdigest()


def _write_state(path: Path, state: Mapping[str, Any]) -> str:
    """Write a state; returns its SHA-256."""
    with path.open("wb") as file:
        hashed = _HashedFile(file)
        try:
            torch.save(dict(state), cast(IO[bytes], hashed))
        except RuntimeError as error:
            raise (hashed.error or error) from None
    return hashed.hexdigest()


def _retain(folder: Path, keep_last: int) -> None:
    saved = checkpoints(folder)
    for old in set(saved[:-keep_last]) - {best(saved)}:
        # Renamed first: a folder of a checkpoint's name is whole even while it is deleted.
        gone = folder / f".{old.path.name}.{secrets.token_hex(4)}.gone"
        old.path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _read(path: Path) -> Checkpoint | None:
    try:
        about = load_json(path / _ABOUT)
        if about["format"] != FORMAT:
            raise ValueError(about["format"])
        score = None if about["score"] is None else float(about["score"])
        return Checkpoint(path=path, step=int(about["step"]), score=score, sha256=str(about["sha256"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s is no checkpoint: %s", path, error)
        return None

"""A run's checkpoints: whole or absent, hashed, the last few and the best kept.

checkpoints/step-00001000/state.pt          weights, moments, each rank's own: tensors and plain types, opened as such
checkpoints/step-00001000/checkpoint.json   step, score, SHA-256 of state.pt
"""

from __future__ import annotations

import json
import logging
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch

from thoracle.errors import CheckpointDamaged
from thoracle.files.atomic import replace_folder, sha256
from thoracle.files.json_file import load_json

FORMAT: Final = "thoracle.checkpoint/2"
_STATE: Final = "state.pt"
_ABOUT: Final = "checkpoint.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Describe a checkpoint that its description calls whole; `load` compares the hash.

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

    def load(self) -> dict[str, Any]:
        """Load the state on the CPU, mapped from the file.

        Raises:
            CheckpointDamaged: the file is not the one that was written.
        """
        state = self.path / _STATE
        if not state.is_file() or sha256(state) != self.sha256:
            raise CheckpointDamaged("is not the file that was saved", hint="Delete its folder: the one before is used.", source=state)
        loaded: dict[str, Any] = torch.load(state, map_location="cpu", weights_only=True, mmap=True)
        return loaded


def save_checkpoint(folder: Path, state: Mapping[str, Any], *, step: int, score: float | None, keep_last: int) -> Checkpoint:
    """Write beside, flush to the disk, rename; then take away what is neither of the last nor the best.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    out = folder / f"step-{step:08d}"
    temporary = folder / f".{out.name}.{secrets.token_hex(4)}.tmp"
    temporary.mkdir(parents=True)
    try:
        torch.save(dict(state), temporary / _STATE)
        checkpoint = Checkpoint(path=out, step=step, score=score, sha256=sha256(temporary / _STATE))
        about = {"format": FORMAT, **asdict(checkpoint)}
        del about["path"]
        (temporary / _ABOUT).write_text(json.dumps(about, indent=1) + "\n")
        replace_folder(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _retain(folder, keep_last)
    return checkpoint


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

"""Curves as they are read back: what a resumed run did again counts once, what a killed one left half is no obstacle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from thoracle.training.config import RunConfig
from thoracle.training.curves import Curves, read_curves
from thoracle.training.distributed import World
from thoracle.training.trainer import Progress


def _write(out: Path, steps: range, *, loss: float) -> None:
    world = World(rank=0, size=1, device=torch.device("cpu"))
    with Curves(out, RunConfig(), world, first=steps.start - 1) as curves:
        for step in steps:
            curves.add(
                Progress(
                    step=step,
                    loss=loss + step,
                    gradient_norm=1.0,
                    learning_rate=0.1,
                    samples_per_second=5.0,
                    memory=1,
                    scores={"macro_auroc": 0.5} if step == 2 else {},
                )
            )


def test_numbers_come_back_by_name_and_step(tmp_path: Path) -> None:
    _write(tmp_path, range(1, 4), loss=0.5)
    found = read_curves(tmp_path)
    assert found["train/loss"] == {1: 1.5, 2: 2.5, 3: 3.5}
    assert found["evaluation/macro_auroc"] == {2: 0.5}


def test_a_step_done_again_counts_once_as_it_was_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, range(1, 4), loss=0.5)
    monkeypatch.setattr("time.time", lambda: 4_000_000_000.0)
    _write(tmp_path, range(3, 5), loss=0.25)
    assert read_curves(tmp_path)["train/loss"] == {1: 1.5, 2: 2.5, 3: 3.25, 4: 4.25}


def test_a_file_cut_anywhere_gives_what_is_whole(tmp_path: Path) -> None:
    _write(tmp_path, range(1, 4), loss=0.5)
    (file,) = (tmp_path / "curves").iterdir()
    content, whole = file.read_bytes(), read_curves(tmp_path)["train/loss"]
    for end in range(0, len(content), 37):
        file.write_bytes(content[:end])
        found = read_curves(tmp_path).get("train/loss", {})
        assert found.items() <= whole.items()

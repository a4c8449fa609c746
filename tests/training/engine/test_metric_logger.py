"""Curves as they are read back: what a resumed run did again counts once, what a killed one left half is no obstacle."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch

from tests.services import require_service
from thoracle.errors import ExtraMissing
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.engine.distributed import World
from thoracle.training.engine.metric_logger import MetricLogger, read_curves
from thoracle.training.engine.progress import TrainStep


def _write(out: Path, steps: range, *, loss: float, log: Literal["tensorboard", "wandb"] = "tensorboard") -> None:
    world = World(rank=0, size=1, device=torch.device("cpu"))
    with MetricLogger(out, ContrastiveConfig(out=str(out), cohort="/hospital/DOE", logger=log), world, first=steps.start - 1) as curves:
        for step in steps:
            curves.add(
                TrainStep(
                    step=step,
                    loss=loss + step,
                    gradient_norm=1.0,
                    learning_rate=0.1,
                    samples_per_second=5.0,
                    data_wait=0.25 * step,
                    flops_utilization=0.5,
                    memory=1,
                    scores={"macro_auroc": 0.5} if step == 2 else {},
                )
            )


def test_numbers_come_back_by_name_and_step(tmp_path: Path) -> None:
    _write(tmp_path, range(1, 4), loss=0.5)
    found = read_curves(tmp_path)
    assert found["train/loss"] == {1: 1.5, 2: 2.5, 3: 3.5}
    assert found["evaluation/macro_auroc"] == {2: 0.5}
    assert found["train/data_wait"] == {1: 0.25, 2: 0.5, 3: 0.75}
    assert found["train/flops_utilization"] == {1: 0.5, 2: 0.5, 3: 0.5}


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


def test_weights_and_biases_gets_numbers_by_step_and_no_folder_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its client is called with; the client itself needs an account."""
    begun: list[dict[str, Any]] = []
    logged: list[tuple[int, dict[str, float]]] = []
    ended: list[bool] = []

    def init(**told: Any) -> SimpleNamespace:
        begun.append(told)
        return SimpleNamespace(log=lambda points, step: logged.append((step, points)), finish=lambda: ended.append(True))

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    for parent in ("one", "other"):
        (tmp_path / parent / "run").mkdir(parents=True)
    _write(tmp_path / "one" / "run", range(1, 3), loss=0.5, log="wandb")
    _write(tmp_path / "one" / "run", range(3, 4), loss=0.5, log="wandb")
    _write(tmp_path / "other" / "run", range(1, 2), loss=0.5, log="wandb")
    first, resumed, other = (told["id"] for told in begun)
    assert first == resumed != other, "a run goes on as itself; another in a folder of that name is another"
    assert not any("DOE" in str(told["config"]) or str(tmp_path) in str(told["config"]) for told in begun)
    assert [(step, points["train/loss"]) for step, points in logged] == [(1, 1.5), (2, 2.5), (3, 3.5), (1, 1.5)]
    assert logged[1][1]["evaluation/macro_auroc"] == 0.5
    assert len(ended) == 3


@pytest.mark.service
def test_the_real_client_writes_curves_under_the_runs_project_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, which needs no account; what would be sent lies in one file."""
    require_service("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = ContrastiveConfig(
        out=str(tmp_path), cohort="/hospital/DOE", logger="wandb", logger_project="MedFinder", logger_name="resnet-50"
    )
    with MetricLogger(tmp_path, config, World(rank=0, size=1, device=torch.device("cpu")), first=0) as curves:
        figures = {"loss": 0.5, "gradient_norm": 1.0, "learning_rate": 0.1, "samples_per_second": 5.0, "data_wait": 0.0}
        curves.add(TrainStep(step=1, **figures, flops_utilization=0.1, memory=1, scores={}))
    importlib.import_module("wandb").teardown()  # the client's own process goes on writing after a run has ended
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert {word for word in (b"MedFinder", b"resnet-50", b"train/loss", b"DOE") if word in file.read_bytes()} == {
        b"MedFinder", b"resnet-50", b"train/loss",
    }  # fmt: skip


def test_without_its_client_weights_and_biases_is_an_error_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ExtraMissing, match="wandb"):
        _write(tmp_path, range(1, 2), loss=0.5, log="wandb")

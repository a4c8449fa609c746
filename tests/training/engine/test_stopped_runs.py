"""Signals to a run on two ranks: what a scheduler sends ends it with all saved, and after any end it goes on as if it had not been."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training import rank_run
from thoracle.training.engine.checkpoints import Checkpoint, last_whole

STEPS = 30
_MODEL = rank_run.CASES["ct-clip"].model
#: Dropout, a codebook on each rank, a worker: whatever a resumed run could get wrong.
CONFIG = replace(
    rank_run.CASES["ct-clip"],
    model=replace(_MODEL, bert=replace(_MODEL.bert, hidden_dropout_prob=0.1)),
    codebook_sync=False,
    num_workers=1,
    steps=STEPS,
    save_every=10,
)
Start = Callable[..., AbstractContextManager[list[subprocess.Popen[str]]]]
Ranks = list[subprocess.Popen[str]]


@pytest.fixture(scope="module")
def whole(ranks: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The state at the end of a run that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    ranks("-m", "tests.training.rank_run", *rank_run.settings(CONFIG, out=str(out)))
    return _last(out).load()


def _to_one(ranks: Ranks) -> None:
    ranks[1].terminate()


def _to_its_group(ranks: Ranks) -> None:
    """The loader's workers were of it."""
    os.killpg(ranks[0].pid, signal.SIGTERM)


def _user_signal(ranks: Ranks) -> None:
    ranks[0].send_signal(signal.SIGUSR1)


def _control_c(ranks: Ranks) -> None:
    for rank in ranks:
        os.killpg(rank.pid, signal.SIGINT)


def _kill(ranks: Ranks) -> None:
    ranks[0].kill()


@pytest.mark.slow
@pytest.mark.parametrize("send", [_to_one, _to_its_group, _user_signal])
def test_a_schedulers_signal_to_one_rank_saves_and_ends_all(
    send: Callable[[Ranks], None], start_ranks: Start, ranks: Any, whole: dict[str, Any], tmp_path: Path
) -> None:
    printed, statuses = _stop(send, start_ranks, tmp_path / "run")
    done = _last(tmp_path / "run").step
    assert 1 < done < STEPS
    for text in printed:
        assert f"TrainingStopped: {tmp_path / 'run'}: stopped by a signal after step {done} of {STEPS}, which is saved" in text
    assert statuses == [1, 1], "Python's, of an error; the command's own is tested with the command"
    _goes_on(ranks, tmp_path / "run", whole)


@pytest.mark.parametrize("send", [pytest.param(_control_c, marks=pytest.mark.slow), _kill])
def test_after_any_other_end_the_last_checkpoint_is_whole(
    send: Callable[[Ranks], None], start_ranks: Start, ranks: Any, whole: dict[str, Any], tmp_path: Path
) -> None:
    """Every step is saved, so that the end falls into a write."""
    _, statuses = _stop(send, start_ranks, tmp_path / "run", save_every=1)
    assert 0 not in statuses
    assert 0 < _last(tmp_path / "run").step < STEPS
    _goes_on(ranks, tmp_path / "run", whole)


def _stop(send: Callable[[Ranks], None], start_ranks: Start, out: Path, **changes: Any) -> tuple[list[str], list[int | None]]:
    """Start a run and send after its second step; returns what the ranks printed and their statuses."""
    with start_ranks("-m", "tests.training.rank_run", *rank_run.settings(CONFIG, out=str(out), **changes), "--slow") as started:
        lines = started[0].stdout
        assert lines is not None
        assert any('"step": 2' in line for line in lines), "it ended before"
        send(started)
        printed = [process.communicate(timeout=120)[0] for process in started]
        return printed, [process.returncode for process in started]


def _goes_on(ranks: Any, out: Path, whole: dict[str, Any]) -> None:
    ranks("-m", "tests.training.rank_run", *rank_run.settings(CONFIG, out=str(out)), "--resume")
    state = _last(out).load()
    assert state["step"] == STEPS
    assert all(torch.equal(tensor, state["weights"][name]) for name, tensor in whole["weights"].items())
    for rank, again in zip(whole["ranks"], state["ranks"], strict=True):
        assert torch.equal(rank["generators"][0], again["generators"][0])
        assert torch.equal(rank["own"]["embed"], again["own"]["embed"])


def _last(out: Path) -> Checkpoint:
    checkpoint = last_whole(out / "checkpoints")
    assert checkpoint is not None
    return checkpoint

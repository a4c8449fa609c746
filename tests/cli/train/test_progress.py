"""What a training run shows on the terminal: each step, each evaluation, and where the model is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from thoracle.cli.train.progress import encoding, follow
from thoracle.training.engine.config import RunConfig
from thoracle.training.engine.progress import TrainStep

STEP = TrainStep(
    step=1,
    loss=0.75,
    gradient_norm=1.0,
    learning_rate=1e-3,
    samples_per_second=12.34,
    data_wait=0.25,
    flops_utilization=0.371,
    memory=3 << 29,
    scores={},
)


@dataclass(kw_only=True)
class Steps:
    """A trainer whose steps are known; `done` counts those that were run through."""

    config: RunConfig
    steps: Sequence[TrainStep]
    notes: Sequence[str] = ("Begun with [CXR-BERT].",)
    done: int = 0

    def run(self) -> Iterator[TrainStep]:
        for step in self.steps:
            yield step
            self.done = step.step


def _printed(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr()
    assert printed.out == "", "results go to the output, progress to the error stream"
    return re.sub(r"\s+", " ", printed.err)


def test_loss_rate_and_memory_are_shown_and_each_evaluation_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    last = replace(STEP, step=2, loss=0.5, skipped=3, scores={"macro_auroc": 0.6254, "[Hernia]": 0.5})
    trainer = Steps(config=RunConfig(steps=2, out="[run]"), steps=[STEP, last])
    follow(trainer, quiet=False)
    assert trainer.done == 2
    text = _printed(capsys)
    assert text.startswith("Begun with [CXR-BERT].")
    assert "loss 0.5000 12.3 samples/s waits 0.2 s 1.5 GiB 3 skipped" in text
    assert "2/2" in text
    assert "step 1:" not in text
    assert "step 2: macro_auroc 0.625, [Hernia] 0.500" in text
    assert "2 steps done: [run]/model" in text


def test_a_resumed_run_counts_from_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = Steps(config=RunConfig(steps=4, out="run"), steps=[], done=4)
    follow(trainer, quiet=False)
    text = _printed(capsys)
    assert "begin" in text
    assert "4/4" in text
    assert "4 steps done: run/model" in text


def test_ranks_but_the_first_are_silent_and_run_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = Steps(config=RunConfig(steps=1, out="run"), steps=[STEP])
    follow(trainer, quiet=True)
    with encoding(quiet=True) as count:
        count(1, 2)
    assert (trainer.done, _printed(capsys)) == (1, "")


def test_encoded_volumes_are_counted_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    with encoding(quiet=False) as count:
        count(3, 1200)
        count(1200, 1200)
    text = _printed(capsys)
    assert "encode" in text
    assert "1,200/1,200" in text


def test_what_ends_a_run_early_passes_through(capsys: pytest.CaptureFixture[str]) -> None:
    class Stopped(Steps):
        def run(self) -> Iterator[TrainStep]:
            yield STEP
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(Stopped(config=RunConfig(steps=2, out="run"), steps=[]), quiet=False)
    text = _printed(capsys)
    assert "1/2" in text
    assert "steps done" not in text

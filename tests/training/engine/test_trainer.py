"""A run: bit-equal when stopped and resumed, killed at any moment, stopped by a NaN, refused where it must be."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training import rank_run
from tests.training.memory_volumes import MemoryVolume
from thoracle.cohort.samples.dataset import Sample
from thoracle.errors import InputError, TrainingDiverged
from thoracle.inference.model import load
from thoracle.models.bundle.model_folder import load_state_dict, open_model
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.contrastive.run import contrastive_run
from thoracle.training.contrastive.zero_shot_eval import ZeroShotEvaluator
from thoracle.training.engine import checkpoints as module
from thoracle.training.engine.checkpoints import checkpoints
from thoracle.training.engine.config import OptimizerConfig, load_run_config
from thoracle.training.engine.distributed import World
from thoracle.training.engine.progress import TrainStep
from thoracle.types import ABNORMALITIES

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
STEPS = 6
#: What two ranks begin, without dropout; its constant rate makes three steps of a run of three those of a longer one.
BEGUN = replace(rank_run.CASES["ct-clip"], optimizer=OptimizerConfig(lr=1e-3, schedule="constant"))
SHARED: dict[str, dict[str, Any]] = {"global": {}, "local": {"negatives": "local"}}


class Pairs:
    """Twelve pairs of noise; what an index gives depends on the epoch, as augmented volumes do."""

    def __init__(self, *, broken: int | None = None) -> None:
        self._epoch, self._broken = 0, broken

    def __len__(self) -> int:
        return 12

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def stored_volume(self, index: int, epoch: int) -> MemoryVolume:
        volume = torch.randn(1, 20, 40, 40, generator=torch.Generator().manual_seed(100 * epoch + index))
        if index == self._broken:
            volume[0, 0, 0, 0] = torch.nan
        return MemoryVolume(volume)

    def __getitem__(self, index: int) -> Sample:
        stored = self.stored_volume(index, self._epoch)
        report = f"There is {ABNORMALITIES[index].lower()}."
        labels = (torch.arange(18) % 12 == index).float()
        return Sample(stored=stored, report=report, labels=labels, volume=f"train_{index}", scan=str(index), patient=str(index))


def words() -> list[str]:
    return [Pairs()[index].report for index in range(12)]


@pytest.fixture
def config(steps: ModuleType, tmp_path: Path) -> ContrastiveConfig:
    """Dropout, gradient caching, a warm-up: whatever a resumed run could get wrong."""
    text = replace(steps.MODEL.bert, vocab_size=256, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    return replace(
        steps.CONFIG,
        out=str(tmp_path / "run"),
        model=replace(steps.MODEL, bert=text),
        steps=STEPS,
        batch_size=4,
        gradient_cache_chunk=2,
        save_every=1,
        keep_checkpoints=2,
        optimizer=OptimizerConfig(lr=1e-3, warmup_steps=2, weight_decay=0.1),
    )


def train(config: ContrastiveConfig, *, resume: bool = False, until: int = STEPS, **more: Any) -> list[TrainStep]:
    """The steps that were done, `until` of the run at most."""
    trainer = contrastive_run(config, more.pop("pairs", Pairs()), ALONE, words=words, resume=resume, **more)
    done = []
    for progress in trainer.run():
        done.append(progress)
        if progress.step == until and until < STEPS:
            break
    return done


def weights(config: ContrastiveConfig) -> dict[str, Tensor]:
    return load_state_dict(open_model(Path(config.out) / "model", verify=True))


def test_stopped_at_any_step_and_resumed_the_weights_are_bit_equal(config: ContrastiveConfig, tmp_path: Path) -> None:
    whole = train(config)
    expected = weights(config)
    for stop in range(1, STEPS):
        again = replace(config, out=str(tmp_path / f"stopped {stop}"))
        torch.manual_seed(99)  # whatever was drawn before must not matter
        before = train(again, until=stop)
        torch.manual_seed(98)
        after = train(again, resume=True)
        assert [one.step for one in (*before, *after)] == list(range(1, STEPS + 1))
        assert [one.loss for one in (*before, *after)] == [one.loss for one in whole]
        assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(again).items())


@pytest.mark.parametrize("workers", [1])
def test_worker_processes_change_nothing(workers: int, config: ContrastiveConfig, tmp_path: Path) -> None:
    alone = [one.loss for one in train(replace(config, steps=STEPS))]
    helped = [one.loss for one in train(replace(config, out=str(tmp_path / "helped"), num_workers=workers))]
    assert alone == helped


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_always_resumes(config: ContrastiveConfig, tmp_path: Path) -> None:
    """Half of them while a checkpoint is written: at a random call to the system, or in the middle of the file."""
    config = replace(config, steps=40)
    train(config)
    again = replace(config, out=str(tmp_path / "killed"))
    chance = random.Random(0)
    fork = multiprocessing.get_context("fork")
    ends = []
    for kill in range(20):
        process = fork.Process(target=_run_until_killed, args=(again, chance.randrange(1, 14) if kill % 2 else 0))
        process.start()
        process.join(None if kill % 2 else chance.uniform(0.01, 0.4))
        process.kill()
        process.join()
        ends.append(process.exitcode)
        for checkpoint in checkpoints(Path(again.out) / "checkpoints"):
            checkpoint.load()
    assert set(ends) <= {-signal.SIGKILL, 0}, "it could not go on"
    assert -signal.SIGKILL in ends  # how many a fast machine outruns is its own affair
    train(again, resume=True)
    assert all(torch.equal(tensor, weights(config)[name]) for name, tensor in weights(again).items())
    left = sorted(path.name for path in (Path(again.out) / "checkpoints").iterdir())
    assert left == ["step-00000039", "step-00000040"]


def test_a_damaged_checkpoint_is_passed_over(config: ContrastiveConfig, tmp_path: Path) -> None:
    train(config)
    again = replace(config, out=str(tmp_path / "damaged"))
    train(again, until=4)
    last = max((Path(again.out) / "checkpoints").glob("step-*/state.pt"))
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    assert train(again, resume=True)[0].step == 4
    assert all(torch.equal(tensor, weights(config)[name]) for name, tensor in weights(again).items())


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_batch(config: ContrastiveConfig) -> None:
    with pytest.raises(TrainingDiverged) as caught:
        train(config, pairs=Pairs(broken=7))
    assert "train_7" not in str(caught.value)
    about = json.loads(Path(str(caught.value.source)).read_text())
    assert "train_7" in about["volumes_by_rank"][0]
    assert len(about["volumes_by_rank"][0]) == config.batch_size
    assert all(torch.isfinite(t).all() for one in checkpoints(Path(config.out) / "checkpoints") for t in one.load()["weights"].values())


def test_the_best_checkpoint_is_kept_and_becomes_the_model(config: ContrastiveConfig) -> None:
    scores = iter([0.5, 0.9, 0.7, 0.6, 0.6, 0.6])
    found = train(replace(config, eval_every=1), evaluate=lambda _: lambda: {"macro_auroc": next(scores)})
    assert [one.scores["macro_auroc"] for one in found] == [0.5, 0.9, 0.7, 0.6, 0.6, 0.6]
    kept = checkpoints(Path(config.out) / "checkpoints")
    assert [one.step for one in kept] == [2, 5, 6]
    best = kept[0].load()["weights"]
    assert all(torch.equal(tensor, best[f"clip.{name}"]) for name, tensor in weights(config).items())


def test_evaluating_changes_nothing_and_detect_takes_the_model(config: ContrastiveConfig, tmp_path: Path) -> None:
    plain = train(config)
    seen = train(replace(config, out=str(tmp_path / "seen"), eval_every=2), evaluate=lambda task: ZeroShotEvaluator(task, Pairs(), batch=5))
    assert [one.loss for one in plain] == [one.loss for one in seen]
    assert [bool(one.scores) for one in seen] == [False, True] * 3
    assert all(0 <= score <= 1 for score in seen[-1].scores.values())
    model = load(Path(config.out) / "model")
    assert model.folder.trained
    assert len(model.detect(torch.zeros(20, 40, 40)).probabilities) == 18
    assert list((Path(config.out) / "curves").iterdir())


@pytest.fixture(scope="module")
def two_ranks_began(ranks: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of three steps on two ranks, by the change of `SHARED`."""
    out = tmp_path_factory.mktemp("two ranks")
    for name, change in SHARED.items():
        ranks("-m", "tests.training.rank_run", *rank_run.settings(replace(BEGUN, **change), out=str(out / name)))
    return {name: out / name for name in SHARED}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change"),
    [("global", {"batch_size": 8}), ("local", {"gradient_accumulation_steps": 2})],
)
def test_one_rank_goes_on_with_what_two_began_as_if_it_had_begun_it(
    name: str, change: dict[str, Any], two_ranks_began: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(two_ranks_began[name], tmp_path / "run")
    config = replace(BEGUN, **SHARED[name], **change, steps=5)
    alone = rank_run.trainer(replace(config, out=str(tmp_path / "alone")), ALONE)
    expected = [step.loss for step in alone.run()]
    trainer = rank_run.trainer(replace(config, out=str(tmp_path / "run")), ALONE, resume=True)
    assert trainer.done == 3
    assert "1 ranks go on with what 2 began" in trainer.notes[-1]
    assert "steps is 5 now, was 3: the learning rate follows the schedule of so many steps from here on." in trainer.notes
    assert [step.loss for step in trainer.run()] == pytest.approx(expected[3:], abs=1e-4)


@pytest.mark.slow
def test_two_ranks_go_on_with_what_one_began(ranks: Any, tmp_path: Path) -> None:
    config = replace(BEGUN, out=str(tmp_path / "run"))
    list(rank_run.trainer(replace(config, batch_size=8), ALONE).run())
    ranks("-m", "tests.training.rank_run", *rank_run.settings(config, steps=5), "--resume")
    alone = rank_run.trainer(replace(config, batch_size=8, steps=5, out=str(tmp_path / "alone")), ALONE)
    list(alone.run())
    one, other = (checkpoints(tmp_path / name / "checkpoints")[-1].load()["weights"] for name in ("run", "alone"))
    for weight, tensor in one.items():
        torch.testing.assert_close(tensor, other[weight], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "change", "detail", "hint"),
    [
        ("global", {}, "2 ranks x 1 batches x 4 samples, and would be of 1 x 1 x 4", "Keep the product, 8: set batch_size or gradient"),
        ("local", {"batch_size": 8}, "and would be of 1 x 1 x 8", "Keep the product, 8, and batch_size, whose samples are compared"),
    ],
)
def test_steps_of_another_number_of_samples_are_refused_and_the_run_stays(
    name: str, change: dict[str, Any], detail: str, hint: str, two_ranks_began: dict[str, Path], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(two_ranks_began[name], tmp_path / "run"))
    before = (out / "config.yaml").read_text()
    with pytest.raises(InputError, match="a step was of") as caught:
        rank_run.trainer(replace(BEGUN, **SHARED[name], **change, steps=5, out=str(out)), ALONE, resume=True)
    assert detail in caught.value.detail
    assert hint in caught.value.hint
    assert (out / "config.yaml").read_text() == before


def test_epochs_are_so_many_steps_from_the_start(config: ContrastiveConfig, tmp_path: Path) -> None:
    """Twelve pairs are three steps of four; the run's own configuration says six, and the command may go on saying two epochs."""
    whole = [step.loss for step in train(config)]
    again = replace(config, steps=0, epochs=2, out=str(tmp_path / "epochs"))
    trainer = contrastive_run(again, Pairs(), ALONE, words=words)
    assert trainer.notes[0] == "2 epochs of 12 samples are 6 steps of 4."
    run = trainer.run()
    begun = [next(run).loss for _ in range(2)]
    run.close()
    written = load_run_config(Path(again.out) / "config.yaml", ContrastiveConfig)
    assert (written.steps, written.epochs) == (6, 0)
    trainer = contrastive_run(again, Pairs(), ALONE, words=words, resume=True)
    assert (trainer.done, len(trainer.notes)) == (2, 1), "nothing has changed"
    assert begun + [step.loss for step in trainer.run()] == whole
    assert all(torch.equal(tensor, weights(config)[name]) for name, tensor in weights(again).items())


def test_epochs_are_as_many_steps_on_another_number_of_ranks(two_ranks_began: dict[str, Path], tmp_path: Path) -> None:
    """24 pairs are three steps of 2 x 4, and of 1 x 8; of 4 they would be six, and are refused."""
    out = str(shutil.copytree(two_ranks_began["global"], tmp_path / "run"))
    begun = replace(BEGUN, steps=0, epochs=1, batch_size=8, out=out)
    trainer = rank_run.trainer(begun, ALONE, resume=True)
    assert (trainer.config.steps, trainer.done) == (3, 3)
    assert not any(note.startswith("steps is") for note in trainer.notes)
    trainer = rank_run.trainer(replace(begun, epochs=2), ALONE, resume=True)
    assert "steps is 6 now, was 3: the learning rate follows the schedule of so many steps from here on." in trainer.notes
    with pytest.raises(InputError, match="a step was of 2 ranks"):
        rank_run.trainer(replace(begun, batch_size=4), ALONE, resume=True)


def test_fewer_steps_than_are_done_are_refused(config: ContrastiveConfig) -> None:
    train(config, until=4)
    with pytest.raises(InputError, match="4 steps are done, more than the 3 of the configuration"):
        train(replace(config, steps=3), resume=True)


def test_what_may_always_change_changes_no_weight(config: ContrastiveConfig, tmp_path: Path) -> None:
    train(config)
    again = replace(config, out=str(tmp_path / "changed"))
    train(again, until=2)
    more = {"num_workers": 1, "save_every": 3, "keep_checkpoints": 1, "eval_every": 4, "activation_checkpointing": True}
    trainer = contrastive_run(replace(again, **more), Pairs(), ALONE, words=words, resume=True, evaluate=lambda _: dict)
    assert [note.split(" ")[0] for note in trainer.notes] == [
        "activation_checkpointing", "num_workers", "save_every", "eval_every", "keep_checkpoints"
    ]  # fmt: skip
    list(trainer.run())
    assert all(torch.equal(tensor, weights(config)[name]) for name, tensor in weights(again).items())


def test_a_checkpoint_that_cannot_be_written_ends_the_run_at_the_next_step(
    config: ContrastiveConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, full = torch.save, threading.Event()

    def fill(state: dict[str, Any], file: Any) -> None:
        if state["step"] == 2:
            full.set()
            raise OSError(errno.ENOSPC, "No space left on device", "state.pt")
        plain(state, file)

    monkeypatch.setattr(module.torch, "save", fill)
    run = contrastive_run(replace(config, save_every=2), Pairs(), ALONE, words=words).run()
    assert [next(run).step for _ in range(2)] == [1, 2]
    assert full.wait(60)
    with pytest.raises(OSError, match="No space left on device"):
        next(run)
    monkeypatch.setattr(module.torch, "save", plain)
    assert [step.step for step in train(config, resume=True)] == list(range(1, STEPS + 1))


def _run_until_killed(config: ContrastiveConfig, calls: int) -> None:
    """`calls`: system calls of checkpoints until this process ends itself; 0 waits for its parent to do it."""
    left = [calls]

    def last(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                if call is torch.save:
                    args[1].write(b"PK\x03\x04 and no more")
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **named)

        return counted

    if calls:
        module.torch.save = last(torch.save)
        os.fsync = last(os.fsync)
        Path.rename = last(Path.rename)  # type: ignore[method-assign]
    torch.set_num_threads(1)
    train(config, resume=True)

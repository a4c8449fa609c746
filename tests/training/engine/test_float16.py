"""Training in float16: a gradient that overflows skips its step on all ranks and halves the scale, and the next is float32's."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training import rank_run, steps
from tests.training.overflow_steps import CONFIG, trainer
from thoracle.errors import TrainingDiverged
from thoracle.training.engine.checkpoints import checkpoints
from thoracle.training.engine.config import RunConfig
from thoracle.training.engine.distributed import World
from thoracle.training.engine.metric_logger import read_curves

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
#: Of factor f: the matrix has the gradient f (1, 0.5) in both rows, the scalar f sum(W x) = 1.5 f.
NORM = math.sqrt(2 * (1 + 0.25) + 1.5**2)


def state(config: RunConfig) -> dict[str, Any]:
    """The last checkpoint's."""
    return checkpoints(Path(config.out) / "checkpoints")[-1].load()


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Weights and moments, to the bit."""
    assert all(torch.equal(tensor, other["weights"][name]) for name, tensor in one["weights"].items())
    for number, moments in one["moments"]["state"].items():
        assert all(torch.equal(tensor, other["moments"]["state"][number][name]) for name, tensor in moments.items())


def test_a_gradient_that_overflows_skips_its_step_and_the_next_is_float32s(tmp_path: Path) -> None:
    """All of it is powers of two, so that the step in float16 is exact."""
    half, single = replace(CONFIG, out=str(tmp_path / "half")), replace(CONFIG, out=str(tmp_path / "single"), precision="float32", steps=1)
    first, second = trainer(half, ALONE, (1.0,)).run()
    assert (first.gradient_norm, first.loss_scale, first.skipped, first.loss) == (math.inf, 2.0**16, 1, 1.5)
    assert (second.gradient_norm, second.loss_scale, second.skipped, second.loss) == (pytest.approx(NORM), 2.0**15, 1, 1.5)
    (step,) = trainer(single, ALONE, (1.0,)).run()
    assert (step.gradient_norm, step.loss_scale, step.skipped) == (pytest.approx(NORM), 1.0, 0)
    same(state(half), state(single))
    assert torch.equal(checkpoints(Path(half.out) / "checkpoints")[0].load()["weights"]["layer.weight"], torch.full((2, 2), 0.5))
    assert {name: values for name, values in read_curves(Path(half.out)).items() if name in ("train/loss_scale", "train/skipped")} == {
        "train/loss_scale": {1: 2.0**16, 2: 2.0**15},
        "train/skipped": {1: 1, 2: 1},
    }
    assert "train/skipped" not in read_curves(Path(single.out))


def test_accumulated_gradients_are_scaled_alike(tmp_path: Path) -> None:
    """Two batches of 1 and 0.5, each counted by half: 0.75 of the gradient of 1, and no overflow."""
    config = replace(CONFIG, out=str(tmp_path / "run"), gradient_accumulation_steps=2, steps=1)
    (step,) = trainer(config, ALONE, (1.0, 0.5)).run()
    assert (step.gradient_norm, step.skipped) == (pytest.approx(0.75 * NORM), 0)


def test_stopped_after_any_step_the_scale_goes_on_to_the_bit(tmp_path: Path) -> None:
    """Of factors 1, 0.5, 4 and 1, the first overflows at 65,536, the third at 32,768 (t is 0.9 then), the last not at 16,384."""
    config, factors = replace(CONFIG, steps=4, out=str(tmp_path / "whole"), keep_checkpoints=4), ((1.0,), (0.5,), (4.0,), (1.0,))
    whole = list(trainer(config, ALONE, *factors).run())
    assert [(step.loss_scale, step.skipped) for step in whole] == [(2.0**16, 1), (2.0**15, 1), (2.0**15, 2), (2.0**14, 2)]
    for stop in (1, 2, 3):
        again = replace(config, out=str(tmp_path / str(stop)))
        run = trainer(again, ALONE, *factors).run()
        before = [next(run) for _ in range(stop)]
        run.close()
        after = list(trainer(again, ALONE, *factors, resume=True).run())
        assert [(s.loss, s.gradient_norm, s.loss_scale, s.skipped) for s in (*before, *after)] == [
            (s.loss, s.gradient_norm, s.loss_scale, s.skipped) for s in whole
        ]
        same(state(again), state(config))
        assert state(again)["loss_scale"] == state(config)["loss_scale"] == {"value": 2.0**14, "skipped": 2, "finite_steps": 1}


def test_what_no_scale_mends_ends_the_run(tmp_path: Path) -> None:
    """A loss that is no number at once; a gradient that overflows at a scale of 1, after 16 halvings."""
    with pytest.raises(TrainingDiverged, match="loss nan"):
        list(trainer(replace(CONFIG, out=str(tmp_path / "loss")), ALONE, (math.nan,)).run())
    config = replace(CONFIG, out=str(tmp_path / "gradient"), steps=20)
    done = []
    with pytest.raises(TrainingDiverged, match="gradient norm inf at step 16") as caught:
        done.extend(trainer(config, ALONE, (1e5,)).run())
    assert json.loads(Path(str(caught.value.source)).read_text())["volumes_by_rank"] == [["100000.0"]]
    assert state(config)["loss_scale"] == {"value": 1.0, "skipped": 16, "finite_steps": 0}


def test_two_ranks_skip_together_where_one_overflows(ranks: Any, tmp_path: Path) -> None:
    """The mean factor is 0.625; at the first scale the gradient of 0.25 is finite, that of 1 is not."""
    ranks("-m", "tests.training.overflow_steps", tmp_path)
    for rank in range(2):
        runs = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for layout in ("ddp", "fsdp"):
            assert runs[layout] == [(math.inf, 2.0**16, 1), (pytest.approx(0.625 * NORM), 2.0**15, 1)], layout
    alone = replace(CONFIG, out=str(tmp_path / "alone"), precision="float32", steps=1)
    list(trainer(alone, ALONE, (0.625,)).run())
    for layout in ("ddp", "fsdp"):
        same(state(replace(CONFIG, out=str(tmp_path / layout))), state(alone))


@pytest.mark.parametrize("name", ["alone", "cached", "medfinder"])
def test_pairs_have_the_gradient_times_the_scale_in_either_pass(name: str) -> None:
    """In float32, where a power of two is exact; with gradient caching and without."""
    config = {"alone": steps.CONFIG, "cached": replace(steps.CONFIG, gradient_cache_chunk=2), "medfinder": steps.FINDER}[name]
    plain, scaled = _gradients(config, 1.0), _gradients(config, 2.0**10)
    assert plain.keys() == scaled.keys()
    assert "clip.temperature" in plain or name == "medfinder", "whose temperature is fixed"
    for weight, gradient in plain.items():
        torch.testing.assert_close(scaled[weight] / 2**10, gradient, atol=1e-8, rtol=1e-5)


@pytest.mark.parametrize("name", ["ct-clip", "resnet", "vit"])
def test_encoders_train_in_float16(name: str, tmp_path: Path) -> None:
    """Three steps, cached, against float32's: the loss within a hundredth, and no step without weights that move."""
    config = replace(rank_run.CASES[name], gradient_cache_chunk=2, out=str(tmp_path / "single"))
    single = list(rank_run.trainer(config, ALONE).run())
    half = list(rank_run.trainer(replace(config, precision="float16", out=str(tmp_path / "half")), ALONE).run())
    assert all(math.isfinite(step.loss) for step in half)
    assert half[0].loss == pytest.approx(single[0].loss, abs=1e-2)
    assert half[-1].skipped < len(half), "a step was taken"


def _gradients(config: Any, scale: float) -> dict[str, Tensor]:
    task = steps.task(config, ALONE)
    task.accumulate_gradients([steps.batch()], loss_scale=scale)
    return {name: p.grad for name, p in task.checkpoint_modules().named_parameters() if p.grad is not None}

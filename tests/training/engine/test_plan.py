"""What is kept for a backward pass, counted by hand on layers whose sizes are known."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from thoracle.training.engine.config import RunConfig
from thoracle.training.engine.plan import Encoding, StepCost, StepOutline, plan_run, step_cost

FLOAT = 4
ROWS, WIDTH = 64, 8
#: Of a layer's output; and of its weights, a matrix and a bias.
OUTPUT, WEIGHTS = ROWS * WIDTH * FLOAT, (WIDTH * WIDTH + WIDTH) * FLOAT
#: Of the product of a layer's rows and matrix.
PRODUCT = 2 * ROWS * WIDTH * WIDTH


def layers(depth: int, *, again: bool = False) -> Callable[[], StepOutline]:
    """Linear maps of 8 to 8 with tanh behind each, on 64 rows; `again` computes each layer once more in the backward pass."""

    def build() -> StepOutline:
        module = nn.Sequential(*(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) for _ in range(depth)))
        for block in module:
            if again:
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        x = torch.zeros(ROWS, WIDTH)
        return StepOutline(module=module, forward=lambda: [module(x)], blocks=list(module), saved=module[0])

    return build


def test_what_lives_at_once_is_counted_beside_weights_gradients_and_inputs() -> None:
    """In the backward pass of the last layer: outputs of all (tanh keeps its own), two or three gradients of their size, and those of its
    weights, which are added to what is there. The input wants no gradient: 3 products forward, 3 + 2 backward.
    """
    cost = step_cost(layers(3), half=False)
    assert (cost.parameters, cost.trained) == (3 * 72, 3 * 72)
    assert cost.weights == cost.gradients == 3 * WEIGHTS
    assert cost.saved == WEIGHTS
    assert cost.gathered == 2 * 2 * WEIGHTS  # two of the layers, with their gradients; nothing lies outside of them
    assert 3 * OUTPUT + 2 * OUTPUT <= cost.activations <= 3 * OUTPUT + 3 * OUTPUT + WEIGHTS
    assert (cost.forward_flops, cost.flops) == (3 * PRODUCT, (3 + 3 + 2) * PRODUCT)


def test_with_checkpointing_a_layer_keeps_its_input_and_is_computed_again() -> None:
    wide, narrow = step_cost(layers(30), half=False), step_cost(layers(30, again=True), half=False)
    assert narrow.flops - wide.flops == 30 * PRODUCT
    assert narrow.activations <= wide.activations + OUTPUT  # tanh is a layer's only output, and the next layer's input
    assert step_cost(layers(30), half=True).activations < wide.activations


def test_a_forward_pass_alone_keeps_nothing() -> None:
    """Of each layer the map's output and tanh's live side by side."""
    cost = step_cost(layers(30), half=False, backward=False)
    assert (cost.trained, cost.gradients) == (0, 0)
    assert cost.activations <= 3 * OUTPUT
    assert cost.flops == cost.forward_flops == 30 * PRODUCT


COST = StepCost(
    parameters=1000, trained=600, weights=4000, gradients=2400, gathered=900, saved=3000, activations=57, forward_flops=800, flops=2400
)


RANKS = {"ranks": 4, "local_ranks": 2}


@pytest.mark.parametrize(
    ("config", "chunk", "flops", "batch"),
    [
        (
            RunConfig(batch_size=8),
            8,
            2400 // 8,
            2 * 8 * 20 + 10,
        ),  # 5 voxels, of four bytes for a model and two as read
        (RunConfig(batch_size=8, num_workers=0), 8, 2400 // 8, 8 * 20 + 10),
        (RunConfig(batch_size=8), 2, (2400 + 800) // 2, 2 * 2 * 20 + 10),
        (RunConfig(batch_size=8, gradient_accumulation_steps=4, eval_every=1), 8, 2400 // 8, 2 * 8 * 20 + 10),
    ],
)
def test_volumes_are_read_into_few_buffers_and_made_on_the_device(config: RunConfig, chunk: int, flops: int, batch: int) -> None:
    plan = plan_run(config, COST, chunk=chunk, voxels=5, samples=100, cache=9, **RANKS, held=6)
    assert plan.device == {"weights": 4000, "gradients": 2400, "moments": 4800, "activations": 57, "batch": batch}
    assert plan.device_total == 11_257 + batch
    assert (plan.buffers, plan.shared) == ((config.num_workers + 1) * 10 * (2 if config.eval_every else 1), 0)
    assert (plan.checkpoint, plan.saving, plan.checkpoints) == (3000 + 4800, 7800, 5)
    assert plan.host_total == plan.buffers + 7800 + 6
    assert plan.node_total == 2 * (plan.buffers + 6) + 7800, "one rank of the two saves"
    assert plan.steps_per_epoch == 100 // (32 * config.gradient_accumulation_steps)
    assert (plan.flops, plan.reads) == (flops, 1 + (chunk == 2))
    assert plan.samples_per_second(1e6) == 0.4 * 1e6 / flops


def test_samples_without_volumes_are_collated_by_workers() -> None:
    plan = plan_run(RunConfig(batch_size=8), COST, chunk=8, sample_bytes=10, samples=100, cache=9, **RANKS)
    assert plan.device["batch"] == 80
    assert (plan.shared, plan.buffers) == (5 * 80, 2 * 2 * 80)  # two workers: two batches each, and the one in use


def test_shards_are_divided_and_a_loader_without_workers_holds_nothing_ahead() -> None:
    config = RunConfig(batch_size=1, parallelism="fsdp", num_workers=0)
    plan = plan_run(config, COST, chunk=1, sample_bytes=10, samples=4, cache=0, ranks=4, local_ranks=4)
    assert plan.device == {"weights": 1000, "gradients": 600, "moments": 1200, "gathered": 900, "activations": 57, "batch": 10}
    assert (plan.shared, plan.buffers) == (0, 0)
    alone = plan_run(config, COST, chunk=1, sample_bytes=10, samples=4, cache=0, ranks=1, local_ranks=1)
    assert "gathered" not in alone.device


def test_the_hungrier_of_encoding_and_training_counts() -> None:
    encoding = Encoding(cost=COST, batch=4, voxels=1000, ahead=True)
    plan = plan_run(RunConfig(), COST, chunk=8, sample_bytes=1, samples=9, cache=0, ranks=1, local_ranks=1, encoding=encoding)
    assert plan.device == {"weights": 4000, "encoding": 57, "batch": 2 * 4 * 4000 + 2000}
    assert plan.flops == 2400 // 4

"""What is kept for a backward pass, counted by hand on layers whose sizes are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from thoracle.training.engine.config import RunConfig
from thoracle.training.engine.plan import ForwardCost, forward_cost, plan_run


def layers(depth: int) -> Callable[[], tuple[nn.Module, Callable[[], Any], Sequence[Tensor], Iterable[nn.Module]]]:
    """Linear maps of 8 to 8 with tanh behind each, on 4 rows."""

    def build() -> tuple[nn.Module, Callable[[], Any], Sequence[Tensor], Iterable[nn.Module]]:
        module = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(depth)))
        x = torch.zeros(4, 8)
        return module, lambda: module(x), (x,), list(module)

    return build


def test_outputs_that_the_backward_pass_needs_are_counted_once() -> None:
    """tanh keeps its output, which the next linear map keeps as its input: 4 x 8 x 4 bytes a layer; a map is 2 x 4 x 8 x 8 operations."""
    cost = forward_cost(layers(3), bf16=False, checkpointing=False)
    assert cost == ForwardCost(activations=3 * 128, largest=128, flops=3 * 512)


def test_with_checkpointing_each_layer_keeps_its_input_and_one_layer_all() -> None:
    cost = forward_cost(layers(3), bf16=False, checkpointing=True)
    assert cost.activations == 3 * 128 + 128
    assert forward_cost(layers(3), bf16=True, checkpointing=False).activations < 2 * 3 * 128


@pytest.mark.parametrize(
    ("config", "chunk", "passes", "batch"),
    [
        (RunConfig(batch_size=8), 8, 3, 2 * 8 * 20 + 10),  # voxels are 5, in four bytes as a model takes them, in two as they are read
        (RunConfig(batch_size=8, num_workers=0), 8, 3, 8 * 20 + 10),
        (RunConfig(batch_size=8), 2, 4, 2 * 2 * 20 + 10),
        (RunConfig(batch_size=8, num_workers=0, activation_checkpointing=True), 2, 5, 2 * 2 * 20 + 10),
        (RunConfig(batch_size=8, gradient_accumulation_steps=4, eval_every=1), 8, 3, 2 * 8 * 20 + 10),
    ],
)
def test_everything_else_follows_from_numbers(config: RunConfig, chunk: int, passes: int, batch: int) -> None:
    cost = ForwardCost(activations=50, largest=7, flops=100 * chunk)
    plan = plan_run(config, cost, parameters=1000, trained=600, chunk=chunk, voxels=5, samples=100, cache=9, ranks=4, local_ranks=2)
    assert plan.device == {"weights": 4000, "gradients": 2400, "moments": 4800, "activations": 50, "backward": 7, "batch": batch}
    assert plan.device_total == 11_257 + batch
    assert plan.buffers == (config.num_workers + 1) * 10 * (2 if config.eval_every else 1)
    assert (plan.checkpoint, plan.saving, plan.checkpoints) == (4000 + 4800, 2 * 8800, 5)
    assert plan.host_total == plan.buffers + 17_600
    assert plan.steps_per_epoch == 100 // (32 * config.gradient_accumulation_steps)
    assert plan.flops == passes * 100
    assert plan.reads == (2 if chunk == 2 else 1)
    assert plan.samples_per_second(1e6) == 0.4 * 1e6 / (passes * 100)


def test_shards_are_divided_and_a_feed_without_workers_holds_one_volume() -> None:
    cost = ForwardCost(activations=0, largest=0, flops=1)
    config = RunConfig(batch_size=1, parallelism="fsdp", num_workers=0)
    plan = plan_run(config, cost, parameters=1000, trained=1000, chunk=1, voxels=5, samples=4, cache=0, ranks=4, local_ranks=4)
    assert (plan.device["weights"], plan.device["moments"], plan.buffers) == (1000, 2000, 10)

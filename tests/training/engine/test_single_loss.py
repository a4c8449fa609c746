"""Gradients of the step that tasks of one loss share, against autograd of the sum written out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thoracle.training.engine.distributed import World
from thoracle.training.engine.single_loss import WeightsOnlyTask, accumulate_losses


def _network() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def test_gradients_and_value_are_those_of_the_summed_loss() -> None:
    network, reference = _network(), _network()
    batches = [torch.randn(4, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]

    value = accumulate_losses(
        network, World(rank=0, size=1, device=torch.device("cpu")), batches, lambda batch_B3: network(batch_B3).pow(2).sum()
    )

    expected: Tensor = sum((reference(batch).pow(2).sum() for batch in batches), torch.zeros(()))
    expected.backward()
    assert not value.requires_grad
    torch.testing.assert_close(value, expected.detach())
    for got, want in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(got.grad, want.grad)


def test_gradients_are_added_to_those_that_stand() -> None:
    network = _network()
    assert network.bias.grad is None
    ones_13 = torch.ones(1, 3)
    for _ in range(2):
        accumulate_losses(network, World(rank=0, size=1, device=torch.device("cpu")), [ones_13], lambda batch_B3: network(batch_B3).sum())
    assert network.bias.grad is not None
    assert network.bias.grad.tolist() == [2.0, 2.0]


def test_a_task_of_weights_alone_keeps_nothing_else() -> None:
    task = WeightsOnlyTask()
    task.on_optimizer_step()
    task.load_rank_state({"left": torch.ones(1)})
    assert task.rank_state() == {}
    assert vars(task) == {}

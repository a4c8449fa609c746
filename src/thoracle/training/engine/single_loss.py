"""Share the step of tasks that have one loss a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from thoracle.training.engine.distributed import World, no_sync

BatchT = TypeVar("BatchT")


class WeightsOnlyTask:
    """Keep nothing between steps but weights."""

    def on_optimizer_step(self) -> None:
        """Do nothing: only weights move."""

    def rank_state(self) -> Mapping[str, Tensor]:
        """Return no state."""
        return {}

    def load_rank_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Load no state."""


def accumulate_losses(
    module: nn.Module,
    world: World,
    batches: Sequence[BatchT],
    loss_of: Callable[[BatchT], Tensor],
    *,
    loss_scale: float = 1.0,
) -> Tensor:
    """Add the gradients of each batch's loss; ranks average theirs once, with the last batch.

    Args:
        module: as `parallelize` returned it.
        world: the ranks.
        batches: of one step on this rank.
        loss_of: a batch's part of the step's loss, a scalar.
        loss_scale: factor of the gradients, but not of the loss that is returned.

    Returns:
        The sum of the losses, averaged over ranks, a scalar without gradient.
    """
    total = torch.zeros((), device=world.device)
    for number, batch in enumerate(batches):
        with no_sync(module, apart=number < len(batches) - 1):
            loss = loss_of(batch)
            (loss * loss_scale).backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return world.all_reduce_mean(total)

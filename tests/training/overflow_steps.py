"""Runs in float16 whose gradients overflow at the first scale: imported by tests, and run by them on two ranks.

A sample is a factor f; the loss is f t sum(W x) with W = 0.5 (2 x 2), t = 1 and x = (1, 0.5), so that the gradient at W x, in float16,
is f times the scale: for f = 1 it is 65,536 at first, above the largest number of float16, 65,504.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from thoracle.training.engine.config import OptimizerConfig, RunConfig
from thoracle.training.engine.distributed import World, distributed_context, parallelize
from thoracle.training.engine.single_loss import WeightsOnlyTask, accumulate_losses
from thoracle.training.engine.task import autocast
from thoracle.training.engine.trainer import Trainer

CONFIG = RunConfig(
    precision="float16",
    steps=2,
    batch_size=1,
    num_workers=0,
    save_every=1,
    optimizer=OptimizerConfig(lr=0.1, max_grad_norm=100.0, schedule="constant"),
)


@dataclass(frozen=True)
class Factors:
    """Factors by sample and epoch, of which the last stays."""

    by_epoch: tuple[tuple[float, ...], ...]

    def __len__(self) -> int:
        return len(self.by_epoch[0])

    def set_epoch(self, epoch: int) -> None:
        object.__setattr__(self, "epoch", min(epoch, len(self.by_epoch) - 1))

    def __getitem__(self, index: int) -> float:
        return self.by_epoch[self.epoch][index]  # type: ignore[attr-defined]


@dataclass(frozen=True)
class FactorBatch:
    """Factors of a batch."""

    factor_B: Tensor
    names: tuple[str, ...]


def collate(samples: Sequence[float]) -> FactorBatch:
    """Make a batch of factors."""
    return FactorBatch(torch.tensor(samples), tuple(map(str, samples)))


class FactorTask(WeightsOnlyTask):
    """Learn a matrix, which may be sharded, and a scalar outside it, as contrastive tasks do."""

    def __init__(self, config: RunConfig, world: World) -> None:
        self.config, self.world = config, world
        self.layer, self.scalar = nn.Linear(2, 2, bias=False), nn.Parameter(torch.tensor(1.0))
        nn.init.constant_(self.layer.weight, 0.5)
        self._spread = parallelize(self.layer, world, shard=config.parallelism == "fsdp", blocks=())

    def checkpoint_modules(self) -> nn.ModuleDict:
        return nn.ModuleDict({"layer": self.layer, "scalar": nn.ParameterList([self.scalar])})

    def trainable_parameters(self) -> list[nn.Parameter]:
        return list(self.checkpoint_modules().parameters())

    def text_parameters(self) -> list[nn.Parameter]:
        return []

    def accumulate_gradients(self, batches: Sequence[FactorBatch], *, loss_scale: float = 1.0) -> Tensor:
        def loss_of(batch: FactorBatch) -> Tensor:
            with autocast(self.config.precision, self.world.device):
                sums_B = self._spread(torch.tensor([[1.0, 0.5]]).expand(len(batch.factor_B), -1)).float().sum(dim=1)
            return self.scalar * (batch.factor_B * sums_B).mean() / len(batches)

        loss = accumulate_losses(self._spread, self.world, batches, loss_of, loss_scale=loss_scale)
        assert self.scalar.grad is not None
        self.world.all_reduce_mean(self.scalar.grad)
        return loss

    def save_model(self, out: Path, weights: Mapping[str, Tensor], *, step: int) -> None:
        out.mkdir()


def trainer(config: RunConfig, world: World, *by_epoch: tuple[float, ...], resume: bool = False) -> Trainer:
    """Make the run of these factors."""
    return Trainer(config, Factors(by_epoch), world, task=lambda _: FactorTask(config, world), collate=lambda _: collate, resume=resume)


def main(out: Path) -> None:
    """Two steps in each layout; at each, one rank has a factor of 0.25 and the other of 1."""
    with distributed_context() as world:
        runs = {}
        for layout in ("ddp", "fsdp"):
            run = trainer(RunConfig(**{**vars(CONFIG), "out": str(out / layout), "parallelism": layout}), world, (0.25, 1.0))
            runs[layout] = [(step.gradient_norm, step.loss_scale, step.skipped) for step in run.run()]
        torch.save(runs, out / f"{world.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Train the second stage on maps of the first: where a finding is, among scans that have it, and nowhere in those that do not.

Shapes: B scans of S, N places, P numbers of a place, K findings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from thoracle.models.regions.evidence import RegionReader
from thoracle.training.engine.config import OptimizerConfig
from thoracle.training.engine.distributed import World
from thoracle.training.engine.schedule import learning_rate_at

#: Passes over the scans.
EPOCHS = 8
_BATCH = 16
_LEARNING_RATE = 3e-3
_WARMUP_STEPS = 50
_WEIGHT_DECAY = 0.02


def train_network(
    reader: RegionReader,
    read_rows: Callable[[Tensor], Tensor],
    labels_SK: Tensor,
    *,
    rows: range,
    seed: int,
    epochs: int = EPOCHS,
    world: World,
    progress: Callable[[int, int], None] = lambda count, total: None,
) -> None:
    """Train a reader's network in place; its evidence is fitted already.

    Args:
        reader: on the device.
        read_rows: gives (B, N, P) of scans by their numbers.
        labels_SK: 0 or 1.
        rows: of the scans that this rank reads; each scan is one rank's.
        seed: of the order of scans.
        epochs: passes over them.
        world: the ranks, whose networks begin with the same weights.
        progress: told how many of how many batches are done.
    """
    generator = torch.Generator().manual_seed(seed)
    total = epochs * math.ceil(len(labels_SK) / _BATCH)
    config = OptimizerConfig(lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY, warmup_steps=min(_WARMUP_STEPS, total // 10))
    optimizer = torch.optim.AdamW(reader.network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    reader.network.train()
    for count, rows_B in enumerate(_batches(len(labels_SK), epochs, generator), start=1):
        optimizer.param_groups[0]["lr"] = learning_rate_at(config, count - 1, steps=total)
        optimizer.zero_grad()
        local_B = rows_B[(rows_B >= rows.start) & (rows_B < rows.stop)]
        if len(local_B):
            places_BNP = read_rows(local_B).to(world.device)
            target_BKN = soft_targets(reader, places_BNP, labels_SK[local_B].to(world.device))
            loss = F.binary_cross_entropy_with_logits(reader.logits(places_BNP), target_BKN) * (len(local_B) / len(rows_B))
            loss.backward()  # type: ignore[no-untyped-call]
        for parameter in reader.network.parameters():
            parameter.grad = world.all_reduce_sum(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
        optimizer.step()
        progress(count, total)
    reader.network.eval()


@torch.no_grad()
def soft_targets(reader: RegionReader, places_BNP: Tensor, labels_BK: Tensor) -> Tensor:
    """Divide each map of the first stage by its maximum where the finding is present; 0 elsewhere: (B, K, N)."""
    maps_BKN = reader.evidence.map_present(places_BNP, labels_BK)
    return maps_BKN / maps_BKN.amax(dim=-1, keepdim=True).clamp(min=1e-30)


def _batches(scans: int, epochs: int, generator: torch.Generator) -> Iterator[Tensor]:
    for _ in range(epochs):
        yield from torch.split(torch.randperm(scans, generator=generator), _BATCH)

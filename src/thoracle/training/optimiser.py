"""AdamW and its learning rate as a function of the step; knows no model but by its parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import nn
from torch.optim import AdamW

from thoracle.training.config import OptimiserConfig


def learning_rate(config: OptimiserConfig, step: int, *, steps: int) -> float:
    """Of step 0 to `steps` - 1: `lr * (step + 1) / warmup`, then half a cosine that would reach 0 at `steps`."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    if not config.cosine:
        return config.lr
    return config.lr * (1 + math.cos(math.pi * (step - config.warmup) / (steps - config.warmup))) / 2


def adamw(parameters: Iterable[nn.Parameter], config: OptimiserConfig, *, text: Iterable[nn.Parameter] = ()) -> AdamW:
    """Build AdamW, fused. Matrices decay, vectors do not; scalars, which are never sharded, are a group of their own.

    Args:
        parameters: that are trained.
        config: of the optimizer.
        text: those that train at `text_share` times the scheduled learning rate; a group's `share` is its multiplier.
    """
    scaled = {id(parameter) for parameter in text}
    groups: dict[tuple[int, float], list[nn.Parameter]] = {}
    for parameter in parameters:
        share = config.text_share if id(parameter) in scaled else 1.0
        groups.setdefault((min(parameter.dim(), 2), share), []).append(parameter)
    return AdamW(
        [
            {"params": groups[dims, share], "weight_decay": config.weight_decay if dims == 2 else 0.0, "share": share}
            for dims, share in sorted(groups)
        ],
        lr=config.lr,
        betas=config.betas,
        fused=True,
    )

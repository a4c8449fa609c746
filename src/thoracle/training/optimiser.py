"""AdamW and its learning rate as a function of the step; knows no model but by its parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from torch import nn
from torch.optim import AdamW

from thoracle.training.config import OptimiserConfig

#: In the names of a CT-CLIP's text encoder.
_TEXT: Final = "text_transformer."


def learning_rate(config: OptimiserConfig, step: int, *, steps: int) -> float:
    """Of step 0 to `steps` - 1: `lr * (step + 1) / warmup`, then half a cosine that would reach 0 at `steps`."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    if not config.cosine:
        return config.lr
    return config.lr * (1 + math.cos(math.pi * (step - config.warmup) / (steps - config.warmup))) / 2


def adamw(parameters: Iterable[tuple[str, nn.Parameter]], config: OptimiserConfig) -> AdamW:
    """Fused: one kernel for all weights. Matrices decay, vectors do not; scalars, which are never sharded, make a group of their own.

    Each group's `share` is what its learning rate is of `learning_rate`.
    """
    groups: dict[tuple[int, float], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        share = config.text_share if _TEXT in name else 1.0
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

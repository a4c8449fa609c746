"""Build the optimizer of a run: AdamW with parameter groups by decay and learning rate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from torch import nn
from torch.optim import AdamW

from thoracle.training.config import OptimizerConfig

#: In the names of a CT-CLIP's text encoder.
_TEXT: Final = "text_transformer."


def build_adamw(parameters: Iterable[tuple[str, nn.Parameter]], config: OptimizerConfig) -> AdamW:
    """Build a fused AdamW: one kernel updates all weights.

    Args:
        parameters: names and weights. Matrices decay, vectors do not; scalars, which are never sharded, make a group of their own.
        config: rates, decay and betas.

    Returns:
        The optimizer; each parameter group trains at its `lr_scale` times the scheduled learning rate.
    """
    groups: dict[tuple[int, float], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        lr_scale = config.text_lr_scale if _TEXT in name else 1.0
        groups.setdefault((min(parameter.dim(), 2), lr_scale), []).append(parameter)
    return AdamW(
        [
            {"params": groups[dims, lr_scale], "weight_decay": config.weight_decay if dims == 2 else 0.0, "lr_scale": lr_scale}
            for dims, lr_scale in sorted(groups)
        ],
        lr=config.lr,
        betas=config.betas,
        fused=True,
    )

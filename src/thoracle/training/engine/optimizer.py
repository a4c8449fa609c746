"""Build the optimizer of a run: AdamW with parameter groups by decay and learning rate."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.optim import AdamW

from thoracle.training.engine.config import OptimizerConfig


def build_adamw(parameters: Iterable[nn.Parameter], config: OptimizerConfig, *, text: Iterable[nn.Parameter] = ()) -> AdamW:
    """Build a fused AdamW: one kernel updates all weights.

    Args:
        parameters: weights that train. Matrices decay, vectors do not; scalars, which are never sharded, make a group of their own.
        config: rates, decay and betas.
        text: weights of the text encoder, which train at `text_lr_scale` times the scheduled learning rate.

    Returns:
        The optimizer; each parameter group trains at its `lr_scale` times the scheduled learning rate.
    """
    scaled = {id(parameter) for parameter in text}
    groups: dict[tuple[int, float], list[nn.Parameter]] = {}
    for parameter in parameters:
        lr_scale = config.text_lr_scale if id(parameter) in scaled else 1.0
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

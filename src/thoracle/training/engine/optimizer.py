"""Build the optimizer of a run, AdamW with parameter groups by decay and learning rate, and the scale of its loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import AdamW

from thoracle.training.engine.config import OptimizerConfig

#: Of torch.amp.GradScaler: the first scale, and steps in a row without overflow after which it doubles.
_FIRST_SCALE, _GROWTH_INTERVAL = 2.0**16, 2000


class LossScale:
    """Scale a loss so that its gradients fit into float16, by the rule of torch.amp.GradScaler (Micikevicius et al., arXiv:1710.03740).

    Attributes:
        value: factor of the loss; 1 for ever, unless it `moves`.
        skipped: steps so far whose gradient overflowed.
    """

    def __init__(self, *, moves: bool) -> None:
        self.value, self.skipped = _FIRST_SCALE if moves else 1.0, 0
        self._moves, self._finite_steps = moves, 0

    @property
    def may_fall(self) -> bool:
        """Return whether a gradient that overflows may fit at a lower scale; below 1 it would be the run that diverges."""
        return self.value > 1

    def update(self, *, finite: bool) -> None:
        """Update the scale: half of it after a step that was skipped, its gradient not `finite`; twice after enough that were."""
        if not self._moves:
            return
        self._finite_steps = self._finite_steps + 1 if finite else 0
        if not finite:
            self.value, self.skipped = self.value / 2, self.skipped + 1
        elif self._finite_steps == _GROWTH_INTERVAL:
            self.value, self._finite_steps = self.value * 2, 0

    def state(self) -> dict[str, float | int]:
        """Return what a checkpoint keeps."""
        return {"value": self.value, "skipped": self.skipped, "finite_steps": self._finite_steps}

    def load(self, state: Mapping[str, Any]) -> None:
        """Load what `state` returned."""
        self.value, self.skipped, self._finite_steps = state["value"], state["skipped"], state["finite_steps"]


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

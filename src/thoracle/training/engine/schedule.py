"""Compute the scheduled learning rate of a step: warm-up, then constant, cosine or warmup-stable-decay."""

from __future__ import annotations

import math

from thoracle.training.engine.config import OptimizerConfig


def learning_rate_at(config: OptimizerConfig, step: int, *, steps: int) -> float:
    """Compute the learning rate of one step, a pure function of it, so that a resumed run is exact.

    Args:
        config: `lr`, `warmup_steps`, `schedule` and `decay_fraction`.
        step: from 0 to `steps` - 1.
        steps: of the whole run.

    Returns:
        `lr * (step + 1) / warmup_steps` in the warm-up. After it "constant" keeps `lr`; "cosine" follows half a cosine that would reach 0
        at `steps` (Loshchilov and Hutter, arXiv:1608.03983); "wsd" keeps `lr` and falls linearly to 0 over the last `decay_fraction` of
        all steps (warmup-stable-decay, Hu et al., arXiv:2404.06395, with a linear decay).
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "cosine":
        return config.lr * (1 + math.cos(math.pi * (step - config.warmup_steps) / (steps - config.warmup_steps))) / 2
    if config.schedule == "wsd":
        decay_start = max(steps - round(config.decay_fraction * steps), config.warmup_steps)
        return config.lr * min((steps - step) / max(steps - decay_start, 1), 1.0)
    return config.lr

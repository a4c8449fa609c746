"""Describe one step of training, as a run reports it and its curves draw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainStep:
    """Report a finished training step.

    Attributes:
        step: steps that are done.
        loss: over all ranks.
        gradient_norm: before clipping.
        learning_rate: of this step.
        samples_per_second: over all ranks, since the step before.
        data_wait: seconds of this step in which the first rank waited for its data.
        flops_utilization: operations a second of this step, over what the first rank's device can do; see `throughput`.
        memory: bytes at most so far: the device's, or the process's own on a CPU.
        scores: the evaluation's, where there was one.
        loss_scale: factor of the gradients while this step computed them, 1 but in float16.
        skipped: steps so far whose gradient overflowed in float16, and that moved no weight.
    """

    step: int
    loss: float
    gradient_norm: float
    learning_rate: float
    samples_per_second: float
    data_wait: float
    flops_utilization: float
    memory: int
    scores: Mapping[str, float]
    loss_scale: float = 1.0
    skipped: int = 0

"""Learning rates of all steps of a run, by schedule."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.training.engine.config import OptimizerConfig
from thoracle.training.engine.schedule import learning_rate_at


def rates(config: OptimizerConfig, *, steps: int) -> list[float]:
    return [learning_rate_at(config, step, steps=steps) for step in range(steps)]


def test_the_rate_warms_up_and_falls_as_half_a_cosine() -> None:
    cosine = rates(OptimizerConfig(lr=2.0, warmup_steps=4, schedule="cosine"), steps=14)
    assert cosine[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert cosine[9] == pytest.approx(1.0)
    assert cosine[13] == pytest.approx(1 + math.cos(math.pi * 0.9))


def test_a_constant_rate_stays_after_the_warm_up() -> None:
    assert rates(OptimizerConfig(lr=2.0, warmup_steps=2, schedule="constant"), steps=5) == [1.0, 2.0, 2.0, 2.0, 2.0]


def test_wsd_is_stable_and_then_decays_linearly() -> None:
    wsd = rates(OptimizerConfig(lr=2.0, warmup_steps=2, schedule="wsd", decay_fraction=0.4), steps=10)
    assert wsd == pytest.approx([1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.5, 1.0, 0.5])


@given(
    schedule=st.sampled_from(["constant", "cosine", "wsd"]),
    warmup=st.integers(0, 40),
    steps=st.integers(1, 40),
    decay=st.floats(0, 1),
)
def test_every_rate_is_positive_and_at_most_the_highest(schedule: str, warmup: int, steps: int, decay: float) -> None:
    config = OptimizerConfig(lr=2.0, warmup_steps=warmup, schedule=schedule, decay_fraction=decay)
    assert all(0 < rate <= 2.0 for rate in rates(config, steps=steps))

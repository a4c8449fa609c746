"""The order of pairs: each once an epoch, alike on any number of ranks, decided by the step alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thoracle.errors import InputError
from thoracle.training.engine.sampler import StepSampler


@settings(max_examples=40, deadline=None)
@given(pairs=st.integers(8, 60), batch=st.integers(1, 2), accumulate=st.integers(1, 2), seed=st.integers(0, 9), epoch=st.integers(0, 5))
def test_an_epoch_shows_each_pair_once_whatever_the_ranks(pairs: int, batch: int, accumulate: int, seed: int, epoch: int) -> None:
    two = [StepSampler(pairs=pairs, batch=batch, accumulate=accumulate, rank=rank, size=2, seed=seed) for rank in range(2)]
    one = StepSampler(pairs=pairs, batch=2 * batch, accumulate=accumulate, rank=0, size=1, seed=seed)
    steps = one.steps_per_epoch
    whole = list(one.indices(epoch, first=0, last=steps))
    parts = [list(order.indices(epoch, first=0, last=steps)) for order in two]
    assert [left + right for left, right in zip(*parts, strict=True)] == whole
    seen = [index for indices in whole for index in indices]
    assert len(set(seen)) == len(seen) == pairs - pairs % one.global_batch_size
    assert list(one.indices(epoch, first=steps - 1, last=steps)) == whole[-accumulate:]


def test_epochs_and_seeds_differ_and_too_few_pairs_are_refused() -> None:
    order = StepSampler(pairs=40, batch=8, accumulate=1, rank=0, size=1, seed=0)
    other = StepSampler(pairs=40, batch=8, accumulate=1, rank=0, size=1, seed=1)
    assert list(order.indices(0, first=0, last=5)) != list(order.indices(1, first=0, last=5))
    assert list(order.indices(0, first=0, last=5)) != list(other.indices(0, first=0, last=5))
    with pytest.raises(InputError, match="7 samples, one step takes 8"):
        StepSampler(pairs=7, batch=8, accumulate=1, rank=0, size=1, seed=0)

"""The order of pairs: each once an epoch, alike on any number of ranks, decided by the step alone."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.memory_volumes import MemoryVolume
from thoracle.errors import InputError
from thoracle.training.engine.sampler import StepSampler, iterate_volume_batches
from thoracle.training.feed.throughput import WaitClock


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


class Named:
    """Twelve samples that say their index and epoch, and volumes that say the same."""

    def __init__(self) -> None:
        self.epoch = 0

    def __len__(self) -> int:
        return 12

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, index: int) -> tuple[int, int]:
        return self.epoch, index

    def stored_volume(self, index: int, epoch: int) -> MemoryVolume:
        return MemoryVolume(torch.tensor([[[[100.0 * epoch + index]]]]))


def stream(steps: range, *, chunk: int, workers: int = 2) -> list[tuple[list[tuple[int, int]], list[list[float]]]]:
    """What each batch of four is of, and the volumes of each of its chunks as they are asked for."""
    order = StepSampler(pairs=12, batch=4, accumulate=1, rank=0, size=1, seed=3)
    batches = iterate_volume_batches(
        Named(),
        order,
        lambda samples, volumes: (samples, volumes),
        steps=steps,
        chunk=chunk,
        device=torch.device("cpu"),
        workers=workers,
        clock=WaitClock(),
    )
    passes = 1 if chunk == 4 else 2
    return [(samples, [c.flatten().tolist() for c in islice(volumes.split(chunk), passes * 4 // chunk)]) for samples, volumes in batches]


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize(("chunk", "passes"), [(4, 1), (2, 2), (1, 2)])
def test_a_batchs_volumes_are_those_of_its_samples_once_or_in_chunks_twice(chunk: int, passes: int, workers: int) -> None:
    fed = stream(range(8), chunk=chunk, workers=workers)  # three steps an epoch
    assert [samples[0][0] for samples, _ in fed] == [0, 0, 0, 1, 1, 1, 2, 2]
    for samples, chunks in fed:
        expected = [100.0 * epoch + index for epoch, index in samples]
        assert [value for part in chunks for value in part] == passes * expected
    order = StepSampler(pairs=12, batch=4, accumulate=1, rank=0, size=1, seed=3)
    assert [[index for _, index in samples] for samples, _ in fed[3:6]] == list(order.indices(1, first=0, last=3))


def test_a_stream_that_begins_later_goes_on_as_the_whole_one_does() -> None:
    assert stream(range(4, 8), chunk=2) == stream(range(8), chunk=2)[4:]


def test_epochs_and_seeds_differ_and_too_few_pairs_are_refused() -> None:
    order = StepSampler(pairs=40, batch=8, accumulate=1, rank=0, size=1, seed=0)
    other = StepSampler(pairs=40, batch=8, accumulate=1, rank=0, size=1, seed=1)
    assert list(order.indices(0, first=0, last=5)) != list(order.indices(1, first=0, last=5))
    assert list(order.indices(0, first=0, last=5)) != list(other.indices(0, first=0, last=5))
    with pytest.raises(InputError, match="7 samples, one step takes 8"):
        StepSampler(pairs=7, batch=8, accumulate=1, rank=0, size=1, seed=0)

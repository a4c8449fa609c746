"""The feed: what a cache holds, in order, in buffers that are used again, ahead of its use and no further."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.cohorts import write_cohort
from thoracle.cohort.samples.augment import Augmentation
from thoracle.cohort.samples.dataset import CohortDataset, LazyVolume
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import CacheDamaged
from thoracle.training.feed import volume_feed as module
from thoracle.training.feed.volume_feed import feed_volumes

CPU = torch.device("cpu")
SIZE = (3, 4, 5)


class Numbered:
    """A volume of one number; it notes into which buffers volumes were read, and which were read so far."""

    def __init__(self, number: int, buffers: list[int], read: list[int], *, fails: bool = False) -> None:
        self._number, self._buffers, self._read, self._fails = number, buffers, read, fails

    @property
    def size(self) -> tuple[int, int, int]:
        return SIZE

    def read_into(self, hu_ZHW: Tensor) -> None:
        if self._fails:
            raise OSError(f"volume {self._number}")
        self._buffers.append(hu_ZHW.data_ptr())
        hu_ZHW.fill_(self._number)
        self._read.append(self._number)

    def write_input(self, hu_ZHW: Tensor, input_ZHW: Tensor) -> None:
        input_ZHW.copy_(hu_ZHW).div_(10)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def numbered(count: int, chunk: int, **more: Any) -> tuple[list[list[LazyVolume]], list[int], list[int]]:
    buffers: list[int] = []
    read: list[int] = []
    volumes = [Numbered(number, buffers, read, **more) for number in range(count)]
    return [list(volumes[first : first + chunk]) for first in range(0, count, chunk)], buffers, read


@pytest.mark.parametrize("workers", [0, 1, 3, 8])
@pytest.mark.parametrize("chunk", [1, 4])
def test_chunks_come_in_order_through_as_many_buffers_as_workers_and_one(chunk: int, workers: int) -> None:
    chunks, buffers, _ = numbered(22, chunk)
    fed = [inputs.clone() for inputs in feed_volumes(chunks, CPU, workers=workers)]
    assert [inputs.shape for inputs in fed] == [(len(volumes), 1, *SIZE) for volumes in chunks]
    assert torch.equal(torch.cat(fed)[:, 0, 0, 0, 0], torch.arange(22) / 10)
    assert all(torch.equal(inputs, inputs[:, :1, :1, :1, :1].expand_as(inputs)) for inputs in fed)
    assert len(buffers) == 22
    assert len(set(buffers)) <= workers + 1
    assert threads() == []


def test_a_cohorts_volumes_are_to_the_bit_what_a_sample_reads(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path / "cohort", PreprocessConfig(size=(20, 40, 40), intensity_scale=600.0))
    data = CohortDataset(cohort, split="train", augmentation=Augmentation(probability=1.0), seed=3)
    chunks = [[data.stored_volume(index, epoch) for index in indices] for epoch in (0, 1) for indices in ((2, 0), (1, 3))]
    fed = torch.cat(list(feed_volumes(chunks, CPU, workers=2)))
    expected = []
    for epoch in (0, 1):
        data.set_epoch(epoch)
        expected += [data[index].read_volume() for index in (2, 0, 1, 3)]
    assert torch.equal(fed, torch.stack(expected))
    assert not torch.equal(fed[:4], fed[4:]), "each epoch augments in its own way"


def test_volumes_are_read_while_the_caller_works_and_no_further_than_there_are_buffers() -> None:
    """Of 20 volumes in pairs: two in the caller's hands, two made meanwhile, three with the workers; none more without being asked."""
    chunks, _, read = numbered(20, 2)
    feed = feed_volumes(chunks, CPU, workers=3)
    next(feed)
    for _ in range(600):  # the workers are waited for, a minute at most
        if len(read) >= 7:
            break
        threading.Event().wait(0.1)
    threading.Event().wait(0.2)
    assert sorted(read) == list(range(7))
    feed.close()
    assert threads() == []


def test_without_workers_nothing_is_read_before_it_is_due() -> None:
    chunks, _, read = numbered(6, 2)
    feed = feed_volumes(chunks, CPU, workers=0)
    next(feed)
    assert read == [0, 1]
    next(feed)
    assert read == [0, 1, 2, 3]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_volume_that_cannot_be_read_ends_the_feed_when_its_chunk_is_due(workers: int, tmp_path: Path) -> None:
    chunks, buffers, read = numbered(4, 2)
    chunks[1][1] = Numbered(3, buffers, read, fails=True)
    feed = feed_volumes(chunks, CPU, workers=workers)
    assert next(feed).shape == (2, 1, *SIZE)
    with pytest.raises(OSError, match="volume 3"):
        next(feed)
    assert threads() == []
    cohort = write_cohort(tmp_path / "cohort", PreprocessConfig(size=(20, 40, 40)))
    data = CohortDataset(cohort, split="train")
    path = cohort.folder / data.entries[0].cache
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CacheDamaged, match="prepare"):
        list(feed_volumes([[data.stored_volume(0, 0)]], CPU, workers=workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_on_a_gpu_buffers_are_pinned_and_given_back_when_they_are_copied(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch can neither pin nor copy to a GPU here: doubles stand for its allocation, its streams and a tensor's move."""
    events: list[str] = []
    allocate = torch.empty

    class Stream:
        def synchronize(self) -> None:
            events.append("synchronize")

    def empty(*size: Any, dtype: torch.dtype = torch.float32, device: Any = None, pin_memory: bool = False) -> Tensor:
        events.append(f"allocate {dtype} {'pinned' if pin_memory else device.type}")
        return allocate(*size, dtype=dtype)

    def to(tensor: Tensor, device: Any, *, non_blocking: bool = False) -> Tensor:
        events.append(f"move to {device.type}, non-blocking {non_blocking}")
        return tensor.clone()

    side = Stream()
    cuda = SimpleNamespace(
        Stream=lambda device: side,
        stream=lambda stream: nullcontext(events.append("beside") if stream is side else None),
        current_stream=lambda device: "the model's",
    )
    monkeypatch.setattr(module, "torch", SimpleNamespace(empty=empty, int16=torch.int16, cuda=cuda, device=torch.device))
    monkeypatch.setattr(Tensor, "to", to)
    monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: events.append(f"recorded for {stream}"))
    chunks, buffers, _ = numbered(3, 3)
    gpu: Any = SimpleNamespace(type="cuda")
    (inputs,) = feed_volumes(chunks, gpu, workers=workers)
    assert torch.equal(inputs[:, 0, 0, 0, 0], torch.arange(3) / 10)
    assert "allocate torch.float32 cuda" in events
    assert 1 <= events.count("allocate torch.int16 pinned") <= workers + 1
    assert "allocate torch.int16 cuda" not in events
    moves = [event for event in events if event.startswith(("move", "sync", "recorded"))]
    assert moves == ["move to cuda, non-blocking True", "synchronize"] * 3 + ["recorded for the model's"]
    assert events.index("beside") < events.index("allocate torch.float32 cuda")
    assert len(buffers) == 3

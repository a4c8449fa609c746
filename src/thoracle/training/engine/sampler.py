"""Samples in batches: in an order that the seed and the step decide.

Step s of a run always sees the same samples, whatever happened before: where a run stands in its data is the number of its step.

Shapes: B samples, N tokens, K abnormalities; (z, x, y) voxels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from thoracle.cohort.samples.dataset import LazyVolume, Sample
from thoracle.errors import InputError
from thoracle.execution.stop_signals import leave_process_group
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.engine.task import B, Collate, PinnedBatch, VolumeCollate
from thoracle.training.feed.throughput import WaitClock
from thoracle.training.feed.volume_feed import VolumeFeed, Volumes, feed_volumes

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


class EpochDataset(Protocol[S_co]):
    """Feed samples for training and evaluation; within an epoch an index always gives the same sample."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> S_co: ...
    def set_epoch(self, epoch: int, /) -> None: ...  # noqa: D102


class VolumeDataset(EpochDataset[S_co], Protocol[S_co]):
    """Feed samples whose volumes are read apart from them, ahead of their use."""

    def stored_volume(self, index: int, epoch: int, /) -> LazyVolume: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch(PinnedBatch):
    """Hold pairs as the model takes them: volumes (B, 1, z, x, y), ids and mask (B, N), and the samples' names.

    `identity_B2` has a number for each pair's scan and one for its text: pairs that share one are not each other's negatives.
    """

    volume_B1ZHW: Volumes
    input_ids_BN: Tensor
    attention_mask_BN: Tensor
    names: tuple[str, ...]
    identity_B2: Tensor | None = None

    def __len__(self) -> int:
        return len(self.names)

    def chunks(self, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield ids, mask and volumes of `size` pairs each, in order, on the device."""
        volumes = iter(self.volume_B1ZHW.split(size))
        for ids_BN, mask_BN in zip(torch.split(self.input_ids_BN, size), torch.split(self.attention_mask_BN, size), strict=True):
            parts = (ids_BN, mask_BN, next(volumes))  # no more than its own: a feed goes on with those of the next batch
            ids, mask, volume = (part.to(device, non_blocking=True) for part in parts)
            yield ids, mask, volume


@dataclass(frozen=True, kw_only=True)
class StepSampler:
    """Choose a rank's samples at a step: each epoch is a permutation of its own; a rest that fills no step is left out.

    Ranks take neighbouring parts of one global batch, so that few ranks with many pairs see what many ranks with few see.

    Attributes:
        pairs: of the data.
        batch: pairs of a batch on a rank.
        accumulate: batches of a step.
        rank, size: as in `World`.
        seed: of the permutations.
    """

    pairs: int
    batch: int
    accumulate: int
    rank: int
    size: int
    seed: int

    def __post_init__(self) -> None:
        if self.pairs < self.global_batch_size:
            raise InputError(
                f"the training split has {self.pairs} samples, one step takes {self.global_batch_size}", hint="Lower batch or accumulate."
            )

    @property
    def global_batch_size(self) -> int:
        """Return the pairs of a step on all ranks."""
        return self.batch * self.accumulate * self.size

    @property
    def steps_per_epoch(self) -> int:
        """Return the steps of one pass over the data."""
        return self.pairs // self.global_batch_size

    def indices(self, epoch: int, *, first: int, last: int) -> Iterator[list[int]]:
        """List this rank's samples in steps `first` to `last` - 1 of an epoch, a list per batch."""
        shuffled = torch.randperm(self.pairs, generator=torch.Generator().manual_seed(self.seed * 1_000_003 + epoch))
        for step in range(first, last):
            global_batch = shuffled[step * self.global_batch_size :][: self.global_batch_size].view(self.accumulate, self.size, self.batch)
            yield from global_batch[:, self.rank].tolist()

    def epochs(self, steps: range) -> Iterator[tuple[int, list[list[int]]]]:
        """Yield each epoch that `steps` reach into, with this rank's samples in them, a list per batch."""
        step = steps.start
        while step < steps.stop:
            epoch, within = divmod(step, self.steps_per_epoch)
            last = min(self.steps_per_epoch, within + steps.stop - step)
            yield epoch, list(self.indices(epoch, first=within, last=last))
            step += last - within


def iterate_volume_batches(
    data: VolumeDataset[S],
    order: StepSampler,
    collate: VolumeCollate[S, B],
    *,
    steps: range,
    chunk: int,
    device: torch.device,
    workers: int,
    clock: WaitClock,
) -> Iterator[B]:
    """Yield the batches of `steps` with a feed of their volumes; those of several chunks are fed twice, as gradient caching asks.

    Args:
        data, order, collate, steps: as in `iterate_batches`.
        chunk: volumes of a batch that are encoded at once.
        device: of the model.
        workers: threads that read volumes ahead, of this batch and of those behind it.
        clock: counts how long volumes are waited for.
    """

    def planned() -> Iterator[list[LazyVolume]]:
        for epoch, batches in order.epochs(steps):
            for indices in batches:
                for _ in range(1 if chunk == order.batch else 2):
                    for first in range(0, order.batch, chunk):
                        yield [data.stored_volume(index, epoch) for index in indices[first : first + chunk]]

    with closing(VolumeFeed(planned(), device, workers=workers, clock=clock)) as volumes:
        for epoch, batches in order.epochs(steps):
            data.set_epoch(epoch)
            for indices in batches:
                yield collate([data[index] for index in indices], volumes)


def iterate_batches(data: EpochDataset[S], order: StepSampler, collate: Collate[S, B], *, steps: range, workers: int) -> Iterator[B]:
    """Yield the batches of `steps`, `accumulate` of them a step."""
    for epoch, batches in order.epochs(steps):
        data.set_epoch(epoch)
        yield from DataLoader(
            data,  # type: ignore[arg-type]  # it asks for a class of its own, and uses two methods
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=leave_process_group,
            # Workers' seeds must not be drawn from the generator that dropout uses: a resumed run draws them at another step.
            generator=torch.Generator().manual_seed(order.seed),
        )


def iterate_samples(
    data: EpochDataset[Sample], batches: Sequence[Sequence[int]], device: torch.device, *, workers: int
) -> Iterator[tuple[list[Sample], Tensor]]:
    """Yield the samples of each batch with their volumes (B, 1, z, x, y) on the device, as an evaluation reads them: once, in order."""
    chunks = ([data[index].stored for index in indices] for indices in batches)
    for indices, volume_B1ZHW in zip(batches, feed_volumes(chunks, device, workers=workers), strict=True):
        yield [data[index] for index in indices], volume_B1ZHW


@dataclass(frozen=True)
class PairCollator:
    """Collate volumes with their reports, of `length` tokens at most."""

    tokenizer: Tokenizer
    length: int

    def __call__(self, samples: Sequence[Sample], volumes: Volumes) -> Batch:
        """Texts are padded to the longest."""
        text = self.tokenizer.encode([sample.report for sample in samples], max_length=self.length)
        return Batch(
            volume_B1ZHW=volumes,
            input_ids_BN=text.input_ids_BN,
            attention_mask_BN=text.attention_mask_BN,
            names=tuple(sample.volume for sample in samples),
            identity_B2=torch.tensor([[_number(sample.scan), _number(sample.report)] for sample in samples]),
        )


def _number(text: str) -> int:
    """Hash a text to a number that ranks can send each other, the same in every process."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)

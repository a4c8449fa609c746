"""Samples in batches: in an order that the seed and the step decide.

Step s of a run always sees the same samples, whatever happened before: where a run stands in its data is the number of its step.

Shapes: B samples, N tokens, K abnormalities; (z, x, y) voxels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from thoracle.cohort.samples.dataset import Sample
from thoracle.errors import InputError
from thoracle.execution.stop_signals import leave_process_group
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.engine.task import B, Collate, PinnedBatch

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)


class EpochDataset(Protocol[S_co]):
    """Feed samples for training and evaluation; within an epoch an index always gives the same sample."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> S_co: ...
    def set_epoch(self, epoch: int, /) -> None: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch(PinnedBatch):
    """Hold pairs as the model takes them: volumes (B, 1, z, x, y), ids and mask (B, N), and the samples' names.

    `identity_B2` has a number for each pair's scan and one for its text: pairs that share one are not each other's negatives.
    """

    volume_B1ZHW: Tensor
    input_ids_BN: Tensor
    attention_mask_BN: Tensor
    names: tuple[str, ...]
    identity_B2: Tensor | None = None

    def __len__(self) -> int:
        return len(self.names)

    def chunks(self, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield ids, mask and volumes of `size` pairs each, in order, on the device."""
        tensors = (self.input_ids_BN, self.attention_mask_BN, self.volume_B1ZHW)
        for parts in zip(*(torch.split(tensor, size) for tensor in tensors), strict=True):
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


def iterate_batches(data: EpochDataset[S], order: StepSampler, collate: Collate[S, B], *, steps: range, workers: int) -> Iterator[B]:
    """Yield the batches of `steps`, `accumulate` of them a step."""
    step = steps.start
    while step < steps.stop:
        epoch, within = divmod(step, order.steps_per_epoch)
        last = min(order.steps_per_epoch, within + steps.stop - step)
        data.set_epoch(epoch)
        yield from DataLoader(
            data,  # type: ignore[arg-type]  # it asks for a class of its own, and uses two methods
            batch_sampler=list(order.indices(epoch, first=within, last=last)),
            collate_fn=collate,
            num_workers=workers,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=leave_process_group,
            # Workers' seeds must not be drawn from the generator that dropout uses: a resumed run draws them at another step.
            generator=torch.Generator().manual_seed(order.seed),
        )
        step += last - within


@dataclass(frozen=True)
class PairCollator:
    """Collate volumes with their reports, of `length` tokens at most."""

    tokenizer: Tokenizer
    length: int

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Texts are padded to the longest."""
        text = self.tokenizer.encode([sample.report for sample in samples], max_length=self.length)
        return Batch(
            volume_B1ZHW=torch.stack([sample.volume_1ZHW for sample in samples]),
            input_ids_BN=text.input_ids_BN,
            attention_mask_BN=text.attention_mask_BN,
            names=tuple(sample.volume for sample in samples),
            identity_B2=torch.tensor([[_number(sample.scan), _number(sample.report)] for sample in samples]),
        )


def _number(text: str) -> int:
    """Hash a text to a number that ranks can send each other, the same in every process."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)

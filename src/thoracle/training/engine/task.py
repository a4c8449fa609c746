"""Define what a task promises the trainer.

B is the task's own kind of batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final, Protocol, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from thoracle.training.engine.config import Precision
from thoracle.training.feed.volume_feed import Volumes

S_contra = TypeVar("S_contra", contravariant=True)
B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)
B_contra = TypeVar("B_contra", contravariant=True)
#: Numbers of each precision.
DTYPES: Final[Mapping[Precision, torch.dtype]] = {"float32": torch.float32, "bf16": torch.bfloat16, "float16": torch.float16}


class PinnedBatch:
    """Give a batch, a dataclass, what a loader needs to copy it to page-locked memory; without it torch leaves a batch as it is."""

    def pin_memory(self) -> Self:
        """Return the batch with its tensors in page-locked memory, from which a copy to a GPU runs beside its work."""
        held = {field.name: getattr(self, field.name) for field in fields(cast(Any, self))}
        pinned = {name: value.pin_memory() for name, value in held.items() if isinstance(value, Tensor)}
        return cast(Self, replace(cast(Any, self), **pinned))


class Collate(Protocol[S_contra, B_co]):
    """Collate samples to a batch; crosses to worker processes, so it must pickle."""

    def __call__(self, samples: Sequence[S_contra], /) -> B_co: ...  # noqa: D102


class VolumeCollate(Protocol[S_contra, B_co]):
    """Collate samples to a batch whose volumes come from a feed."""

    def __call__(self, samples: Sequence[S_contra], volumes: Volumes, /) -> B_co: ...  # noqa: D102


class Task(Protocol[B_contra]):
    """Define a model in training, on its device. Randomness comes from torch's generators alone, which the trainer keeps and restores."""

    def checkpoint_modules(self) -> nn.ModuleDict:
        """Return all that a checkpoint holds, as one module."""

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that are trained."""

    def text_parameters(self) -> Sequence[nn.Parameter]:
        """Return those of a text encoder whose learning rate is scaled for itself; none where a task has none."""

    def accumulate_gradients(self, batches: Sequence[B_contra], *, loss_scale: float = 1.0) -> Tensor:
        """Add a step's gradients times `loss_scale`, averaged over its batches and ranks.

        Returns the loss over all ranks, as it is: a scalar without gradient.
        """

    def on_optimizer_step(self) -> None:
        """Run after the optimizer has moved the weights."""

    def rank_state(self) -> Mapping[str, Tensor]:
        """Return state that differs between ranks (RNG state excluded), as CPU tensors."""

    def load_rank_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what `rank_state` returned."""

    def save_model(self, out: Path, weights: Mapping[str, Tensor], *, step: int) -> None:
        """Write the model folder; `weights` are the best checkpoint's, by the names of `modules`, as they were after `step` steps."""


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Compute in the precision of a run, where an operation bears it; weights stay as they are."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "float32")


def sample_names(batch: Any) -> Sequence[str]:
    """Name a batch's samples, for the file that is written when its loss is no number."""
    names: Sequence[str] = batch.names
    return names

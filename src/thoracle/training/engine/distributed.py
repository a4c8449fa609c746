"""The ranks of a run: what they tell each other, and how weights lie on them; the only file that uses torch.distributed.

Knows no loss and no data. On one rank everything here returns what it was given.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from thoracle.execution.executor import attempt

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class World:
    """Describe the ranks of a run, and this one."""

    rank: int
    size: int
    device: torch.device

    def all_gather(self, own_BL: Tensor) -> Tensor:
        """Gather every rank's rows, in the order of ranks; the gradient goes to this rank's own."""
        if self.size == 1:
            return own_BL
        parts = [torch.empty_like(own_BL) for _ in range(self.size)]
        dist.all_gather(parts, own_BL.detach().contiguous())
        parts[self.rank] = own_BL
        return torch.cat(parts)

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """Sum over ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def all_reduce_mean(self, tensor: Tensor) -> Tensor:
        """Average over ranks, in place."""
        return self.all_reduce_sum(tensor).div_(self.size)

    def all_gather_object(self, local: _T) -> list[_T]:
        """Gather every rank's object on every rank."""
        if self.size == 1:
            return [local]
        gathered: list[Any] = [None] * self.size
        dist.all_gather_object(gathered, local)
        return gathered

    def gather_object(self, local: _T) -> list[_T]:
        """Gather every rank's object on the first rank; the others get none."""
        if self.size == 1:
            return [local]
        gathered: list[Any] = [None] * self.size if self.rank == 0 else []
        dist.gather_object(local, gathered or None)
        return gathered

    def on_first(self, function: Callable[[], _T]) -> _T:
        """Run a function on the first rank alone; every rank returns what that returned, or raises what it raised.

        What the first rank alone reads of the disk, no other rank looks up before it is there: a network file system would go on
        answering that it is absent.
        """
        if self.size == 1:
            return function()
        outcome: list[Any] = [*attempt(function)] if self.rank == 0 else [None, None]
        dist.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        return cast(_T, outcome[0])

    def any_rank(self, flag: bool) -> bool:
        """Return on every rank whether the flag is set on one of them."""
        return self.all_reduce_sum(torch.tensor(float(flag), device=self.device)).item() > 0

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def distributed_context(timeout: timedelta | None = None) -> Iterator[World]:
    """Join the process group that `torchrun` describes in the environment; a world of one where there is none.

    Args:
        timeout: how long a rank waits for the others before the run is aborted; None is torch's own, 10 minutes on GPUs.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if size > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timeout)
    try:
        yield World(rank=rank, size=size, device=device)
    finally:
        if size > 1:
            # gloo's threads may not have let go of the last message's tensors, for which they need Python's lock; the group's destructor
            # would hold it, and wait for them for ever. Asleep, this thread does not hold it.
            time.sleep(0.1)
            dist.destroy_process_group()


def parallelize(module: nn.Module, world: World, *, shard: bool, blocks: Iterable[nn.Module]) -> nn.Module:
    """Distribute a module over all ranks, each of which must begin with the same weights.

    Args:
        module: every parameter that is trained takes part in its forward pass.
        world: as `join` gives it.
        shard: a part of each weight on each rank (FSDP2), gathered block by block; otherwise a copy on each (DDP).
        blocks: submodules that are gathered one at a time.
    """
    if world.size == 1:
        return module
    if not shard:
        # Buffers are not trained by gradient: the codebook keeps itself alike on all ranks, or not, as the run says.
        return DistributedDataParallel(module, broadcast_buffers=False, gradient_as_bucket_view=True)
    empty = {parameter for parameter in module.parameters() if not parameter.numel()}  # nothing to share out
    for block in blocks:
        fully_shard(block, ignored_params=empty)
    fully_shard(module, ignored_params=empty)
    return module


def no_sync(module: nn.Module, *, apart: bool) -> AbstractContextManager[None]:
    """Keep each DDP rank's gradients to itself, if `apart`: more are to be added before they are averaged."""
    if apart and isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return nullcontext()


def clip_gradients(parameters: Iterable[Tensor], world: World, *, limit: float, loss_scale: float = 1.0) -> float:
    """Scale all gradients down to the norm `limit`; returns the norm before. Sharded ones count over all ranks, others once.

    They come `loss_scale` times too large, and leave without it.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    sharded = [g.to_local() for g in gradients if isinstance(g, DTensor)]
    unsharded = [g for g in gradients if not isinstance(g, DTensor)]
    square = world.all_reduce_sum(_square(sharded, world.device)) if sharded else _square(sharded, world.device)
    norm = (square + _square(unsharded, world.device)).sqrt() / loss_scale
    scale = (limit / (norm + 1e-6)).clamp(max=1.0) / loss_scale
    for gradient in (*sharded, *unsharded):
        gradient.mul_(scale)
    return norm.item()


def full_state_dict(module: nn.Module, optimiser: Optimizer, *, keep: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Copy whole weights by name, and the optimiser's whole state, to the CPU.

    Every rank must ask, for a sharded tensor is gathered by all; one that does not `keep` drops each before the next, and copies none.
    """
    copy = _whole if keep else _gather_and_drop
    weights = {name: copy(tensor) for name, tensor in module.state_dict().items()}
    moments = optimiser.state_dict()
    state = {number: {name: copy(tensor) for name, tensor in moments_of.items()} for number, moments_of in moments["state"].items()}
    return weights, {**moments, "state": state}


@torch.no_grad()
def load_full_state_dict(module: nn.Module, optimiser: Optimizer, *, weights: Mapping[str, Tensor], moments: Mapping[str, Any]) -> None:
    """Load what `full_state_dict` returned into any layout; every rank must give the same, which is copied: AdamW moves in place."""
    for name, tensor in module.state_dict().items():
        tensor.copy_(_laid(weights[name], tensor))
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state = {
        number: {
            name: _laid(tensor.to(parameters[number].device, copy=True), parameters[number]) if tensor.dim() else tensor.clone()
            for name, tensor in moments_of.items()
        }
        for number, moments_of in moments["state"].items()
    }
    optimiser.load_state_dict({**moments, "state": state})


def _whole(tensor: Tensor) -> Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().to("cpu", copy=True)


def _gather_and_drop(tensor: Tensor) -> Tensor:
    if isinstance(tensor, DTensor):
        tensor.full_tensor()
    return torch.empty(0)


def _laid(full: Tensor, like: Tensor) -> Tensor:
    """As `like` lies on the ranks; each cuts its part out of what it has, none is sent."""
    if not isinstance(like, DTensor):
        return full
    return distribute_tensor(full.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def _square(gradients: list[Tensor], device: torch.device) -> Tensor:
    total = torch.zeros((), device=device)
    for gradient in gradients:
        total += gradient.float().square().sum()
    return total

"""Plan a run before it begins: what it needs of the device, the host and the disk, by shapes alone.

The model is built and a step of it run, forward and backward, on fake tensors, which have shapes and no values: nothing is allocated,
whatever its size. What lives at once is counted there; everything else follows from numbers of weights, of samples and of bytes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from thoracle.training.engine.config import RunConfig
from thoracle.training.feed.throughput import FlopCounter

#: Bytes of a voxel as a model takes it, and as the cache holds it.
_FLOAT, _STORED = 4, 2
#: Batches of samples without volumes that a loader holds ahead: two a worker, and the one in use.
_AHEAD: Final = 2
#: Copies of such a batch inside a worker while it collates: the list of samples, and the stack.
_COLLATING: Final = 2
#: Of AdamW: two moments.
_MOMENTS: Final = 2
#: Layers that are whole at once where weights are sharded: the one that computes, and the next.
_GATHERED: Final = 2
#: Published dense peaks, in FLOP/s, in 32 and in 16 bits: NVIDIA's data sheets of the A100 and the H100 (SXM).
CARDS: Final[Mapping[str, tuple[float, float]]] = {"A100": (19.5e12, 312e12), "H100": (67e12, 989e12)}
#: Share of the peak that training of such models reaches at best.
UTILISATION: Final = 0.4


@dataclass(frozen=True, kw_only=True, eq=False)
class StepOutline:
    """Hold what a step runs.

    Attributes:
        module: with the weights that learn asking for gradients, and no others.
        forward: computes what the backward pass begins with.
        blocks: layers that fully sharded data parallelism gathers one at a time.
        saved: what a checkpoint holds; None for all of `module`.
    """

    module: nn.Module
    forward: Callable[[], Iterable[Tensor]]
    blocks: Sequence[nn.Module] = ()
    saved: nn.Module | None = None


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """Hold what a step over a chunk of samples costs, in bytes where nothing else is said.

    Attributes:
        parameters, trained: numbers of weights, of all and of those that learn.
        weights, gradients: of all weights, and of the gradients of those that learn.
        gathered: of weights, and gradients, that are whole on a rank at once though they are sharded.
        saved: of the weights of a checkpoint.
        activations: most that lives at once beside weights, gradients and inputs.
        forward_flops, flops: of the forward pass, and of all of it.
    """

    parameters: int
    trained: int
    weights: int
    gradients: int
    gathered: int
    saved: int
    activations: int
    forward_flops: int
    flops: int


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Hold what encoding samples once costs, before a run on what it gives.

    Attributes:
        cost: of a batch.
        batch: volumes that are encoded at once.
        voxels: of a volume.
        ahead: the next volumes are made while these are encoded.
    """

    cost: StepCost
    batch: int
    voxels: int
    ahead: bool

    @property
    def device(self) -> Mapping[str, int]:
        """Return bytes on the device, by part."""
        batch = _volume_bytes(self.voxels, self.batch * (2 if self.ahead else 1))
        return {"weights": self.cost.weights, "encoding": self.cost.activations, "batch": batch}


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """Hold what a run needs, in bytes where nothing else is said.

    Attributes:
        parameters, trained: numbers of weights, of all and of those that learn.
        device: by part, on each rank, in the hungrier of training and of encoding what is trained on.
        buffers: of what is read ahead, on each rank, outside of /dev/shm; of twice as many volumes where it is evaluated, which reads
            ahead too.
        shared: /dev/shm of each rank.
        saving: of a checkpoint's copy, on the first rank, while it is written.
        held: of samples that each rank has in memory.
        checkpoint: of one on the disk.
        checkpoints: most that are there at once.
        cache: on the disk, of what is read.
        samples: of the training split.
        steps_per_epoch: of all ranks.
        flops: of a sample's part of a step, or of encoding it where a frozen encoder does that first.
        reads: of a volume in a step; gradient caching reads it again for the second pass.
        ranks, local_ranks: of the run, and of a node.
    """

    parameters: int
    trained: int
    device: Mapping[str, int]
    buffers: int
    shared: int
    saving: int
    held: int
    checkpoint: int
    checkpoints: int
    cache: int
    samples: int
    steps_per_epoch: int
    flops: int
    reads: int
    ranks: int
    local_ranks: int

    @property
    def device_total(self) -> int:
        """Return the peak on the device of a rank."""
        return sum(self.device.values())

    @property
    def host_total(self) -> int:
        """Return the host memory of the first rank, its part of /dev/shm included."""
        return self.buffers + self.shared + self.held + self.saving

    @property
    def node_total(self) -> int:
        """Return the host memory of the first rank's node."""
        return (self.buffers + self.shared + self.held) * self.local_ranks + self.saving

    def samples_per_second(self, flops_per_second: float) -> float:
        """Compute what the loader of a rank must give a device of that peak."""
        return UTILISATION * flops_per_second / self.flops


def step_cost(build: Callable[[], StepOutline], *, half: bool, backward: bool = True) -> StepCost:
    """Run a step on fake tensors.

    Args:
        build: makes what the step runs, and its inputs, which are counted elsewhere; called among fake tensors.
        half: with autocast to 16 bits.
        backward: compute gradients; otherwise nothing is kept for them.
    """
    with FakeTensorMode(), _LiveBytes() as live, FlopCounter() as counter:
        outline = build()
        parameters = list(outline.module.parameters())
        trained = [parameter for parameter in parameters if parameter.requires_grad and backward]
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)  # a step's gradients are added to those of the chunk before
        before = live.peak = live.now
        with torch.autocast("cpu", torch.bfloat16, enabled=half), torch.set_grad_enabled(backward):
            results = list(outline.forward())
        forward_flops = counter.flops
        if backward:
            torch.autograd.backward(results, [torch.ones_like(result) for result in results])
    blocks = [_bytes(block.parameters()) for block in outline.blocks]
    trained_blocks = [_bytes(parameter for parameter in block.parameters() if parameter.requires_grad) for block in outline.blocks]
    root = _bytes(parameters) - sum(blocks) + _bytes(trained) - sum(trained_blocks)
    return StepCost(
        parameters=sum(parameter.numel() for parameter in parameters),
        trained=sum(parameter.numel() for parameter in trained),
        weights=_bytes(parameters),
        gradients=_bytes(trained),
        gathered=root + _GATHERED * max(map(sum, zip(blocks, trained_blocks, strict=True)), default=0),
        saved=_bytes((outline.saved or outline.module).state_dict().values()),
        activations=live.peak - before,
        forward_flops=forward_flops,
        flops=counter.flops,
    )


def plan_run(
    config: RunConfig,
    cost: StepCost,
    *,
    chunk: int,
    voxels: int = 0,
    sample_bytes: int = 0,
    samples: int,
    cache: int,
    ranks: int,
    local_ranks: int,
    held: int = 0,
    encoding: Encoding | None = None,
) -> RunPlan:
    """Add up what a run needs.

    Args:
        config: of the run.
        cost: of a chunk.
        chunk: samples that are encoded at once.
        voxels: of a volume; 0 for a task without.
        sample_bytes: of any other sample, as the loader gives it.
        samples: of the training split.
        cache: bytes on the disk of what is read.
        ranks, local_ranks: of the run, and of a node.
        held: bytes of all samples, where a rank holds them in memory.
        encoding: by a frozen encoder, of what is trained on.
    """
    sharded = config.parallelism == "fsdp" and ranks > 1
    shards = ranks if sharded else 1
    state = cost.saved + _MOMENTS * cost.gradients
    batch = config.batch_size * sample_bytes
    ahead = _AHEAD * config.batch_workers + 1 if config.batch_workers else 0
    cached = chunk < config.batch_size
    chunks = 2 if cached or config.num_workers else 1  # the one that is encoded, and the next, which is made meanwhile
    device: Mapping[str, int] = {
        "weights": cost.weights // shards,
        "gradients": cost.gradients // shards,
        "moments": _MOMENTS * cost.gradients // shards,
        **({"gathered": cost.gathered} if sharded else {}),
        "activations": cost.activations,
        "batch": _volume_bytes(voxels, chunks * chunk) + batch * config.gradient_accumulation_steps,
    }
    flops = (cost.flops + cost.forward_flops * cached) // chunk  # gradient caching encodes each chunk twice
    buffers = (config.num_workers + 1) * _STORED * voxels * (2 if config.eval_every else 1)
    if encoding is not None:
        device, flops = max(device, encoding.device, key=lambda parts: sum(parts.values())), encoding.cost.flops // encoding.batch
        buffers = (config.num_workers + 1) * _STORED * encoding.voxels
    return RunPlan(
        parameters=cost.parameters,
        trained=cost.trained,
        device=device,
        buffers=buffers + _COLLATING * config.batch_workers * batch,
        shared=ahead * batch,
        saving=state,
        held=held,
        checkpoint=state,
        checkpoints=config.keep_checkpoints + 2,
        cache=cache,
        samples=samples,
        steps_per_epoch=samples // (config.batch_size * config.gradient_accumulation_steps * ranks),
        flops=flops,
        reads=1 + cached,
        ranks=ranks,
        local_ranks=local_ranks,
    )


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of torch
    """Count the bytes of all tensors that live.

    Attributes:
        now, peak: bytes.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and (key := (storage := tensor.untyped_storage())._cdata) not in self._sizes:
                self._sizes[key] = storage.nbytes()
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._free, key)
        return result

    def _free(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


def _volume_bytes(voxels: int, count: int) -> int:
    """Return what volumes take on a device: as a model takes them, and the one that is being made, as it is stored."""
    return (_FLOAT * count + _STORED) * voxels


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

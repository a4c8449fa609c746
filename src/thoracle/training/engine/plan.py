"""Plan a run before it begins: what it needs of the device, the host and the disk, by shapes alone.

The model is built and run forward on fake tensors, which have shapes and no values: nothing is allocated, whatever its size. What autograd
keeps for the backward pass is counted there; everything else follows from numbers of weights, of samples and of bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from thoracle.training.engine.config import RunConfig

_FLOAT: Final = 4
#: Bytes of a voxel as the cache holds it.
_STORED: Final = 2
#: Of AdamW: two moments.
_MOMENTS: Final = 2
#: Published dense peaks, in FLOP/s, without and with bfloat16: NVIDIA's data sheets of the A100 and the H100 (SXM).
CARDS: Final[Mapping[str, tuple[float, float]]] = {"A100": (19.5e12, 312e12), "H100": (67e12, 989e12)}
#: Share of the peak that training of such models reaches at best.
UTILISATION: Final = 0.4


@dataclass(frozen=True, kw_only=True)
class ForwardCost:
    """Hold what one forward pass of a chunk costs.

    Attributes:
        activations: bytes that are kept for the backward pass, the volumes left out.
        largest: of one of them, whose gradient stands beside it.
        flops: of the forward pass.
    """

    activations: int
    largest: int
    flops: int


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """Hold what a run needs, in bytes where nothing else is said.

    Attributes:
        parameters, trained: numbers of weights, of all and of those that learn.
        device: by part, on each rank; "backward" is the gradient of the largest activation.
        buffers: of volumes that are read ahead, on each rank; twice as many where it is evaluated, which reads ahead too.
        saving: of a checkpoint's copy, on each rank.
        checkpoint: of one on the disk.
        checkpoints: most that are there at once.
        cache: of the cohort on the disk.
        samples: of the training split.
        steps_per_epoch: of all ranks.
        flops: of a sample's part of a step.
        reads: of a volume in a step; gradient caching reads it again for the second pass.
        ranks, local_ranks: of the run, and of a node.
    """

    parameters: int
    trained: int
    device: Mapping[str, int]
    buffers: int
    saving: int
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
        """Return the host memory of a rank."""
        return self.buffers + self.saving

    def samples_per_second(self, flops_per_second: float) -> float:
        """Compute what the loader of a rank must give a device of that peak."""
        return UTILISATION * flops_per_second / self.flops


def forward_cost(
    build: Callable[[], tuple[nn.Module, Callable[[], Any], Sequence[Tensor], Iterable[nn.Module]]], *, bf16: bool, checkpointing: bool
) -> ForwardCost:
    """Count what a forward pass keeps and computes.

    Args:
        build: makes the module, its forward pass, the inputs that are counted elsewhere, and the layers that are computed again with
            `checkpointing`; called among fake tensors.
        bf16: with autocast.
        checkpointing: keep of a layer its input, and of one layer all.
    """
    kept: dict[int, tuple[Tensor, nn.Module | None]] = {}
    inside: list[nn.Module] = []
    entered: dict[nn.Module, int] = {}

    def enter(block: nn.Module, given: Any) -> None:
        inside.append(block)
        entered[block] = _bytes(given)

    def leave(*_: Any) -> None:
        inside.pop()

    with FakeTensorMode():
        module, forward, inputs, blocks = build()
        for block in blocks:
            block.register_forward_pre_hook(enter)
            block.register_forward_hook(leave)
        known = {_storage(tensor) for tensor in (*module.parameters(), *module.buffers(), *inputs)}

        def keep(tensor: Tensor) -> Tensor:
            if _storage(tensor) not in known:
                kept.setdefault(_storage(tensor), (tensor, inside[-1] if inside else None))
            return tensor

        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=bf16),
            FlopCounterMode(display=False) as counter,
        ):
            result = forward()
        del result
    sizes: dict[nn.Module | None, int] = {}
    for tensor, owner in kept.values():
        sizes[owner] = sizes.get(owner, 0) + tensor.untyped_storage().nbytes()
    layers = {owner: size for owner, size in sizes.items() if owner is not None}
    activations = sum(sizes.values())
    if checkpointing and layers:
        activations = sizes.get(None, 0) + sum(entered.values()) + max(layers.values())
    largest = max((tensor.untyped_storage().nbytes() for tensor, _ in kept.values()), default=0)
    return ForwardCost(activations=activations, largest=largest, flops=counter.get_total_flops())


def plan_run(
    config: RunConfig,
    cost: ForwardCost,
    *,
    parameters: int,
    trained: int,
    chunk: int,
    voxels: int,
    samples: int,
    cache: int,
    ranks: int,
    local_ranks: int,
) -> RunPlan:
    """Add up what a run needs.

    Args:
        config: of the run.
        cost: of a chunk.
        parameters, trained: numbers of weights.
        chunk: samples that are encoded at once.
        voxels: of a volume.
        samples: of the training split.
        cache: bytes of the cohort's cache.
        ranks, local_ranks: of the run, and of a node.
    """
    shards = ranks if config.parallelism == "fsdp" else 1
    state = _FLOAT * (parameters + _MOMENTS * trained)
    cached = chunk < config.batch_size
    chunks = 2 if cached or config.num_workers else 1  # the one that is encoded, and the next, which is made meanwhile
    passes = 3 + cached + config.activation_checkpointing  # forward, and twice that backward; each chunk again; each layer again
    return RunPlan(
        parameters=parameters,
        trained=trained,
        device={
            "weights": _FLOAT * parameters // shards,
            "gradients": _FLOAT * trained // shards,
            "moments": _FLOAT * _MOMENTS * trained // shards,
            "activations": cost.activations,
            "backward": cost.largest,
            "batch": (chunks * chunk * _FLOAT + _STORED) * voxels,
        },
        buffers=(config.num_workers + 1) * _STORED * voxels * (2 if config.eval_every else 1),
        saving=2 * state,
        checkpoint=state,
        checkpoints=config.keep_checkpoints + 2,
        cache=cache,
        samples=samples,
        steps_per_epoch=samples // (config.batch_size * config.gradient_accumulation_steps * ranks),
        flops=passes * cost.flops // chunk,
        reads=1 + cached,
        ranks=ranks,
        local_ranks=local_ranks,
    )


def _bytes(given: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in given if isinstance(tensor, Tensor))


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)

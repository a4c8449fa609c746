"""What ranks tell each other and do together, on however many the environment says: imported by tests, and run by them on two."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from thoracle.errors import InputError
from thoracle.training.engine.config import RunConfig
from thoracle.training.engine.distributed import (
    World,
    clip_gradients,
    distributed_context,
    full_state_dict,
    load_full_state_dict,
    no_sync,
    parallelize,
)
from thoracle.training.engine.run_folder import open_run_folder

ROWS = 4
LIMIT = 0.05
LAYOUTS = {"ddp": False, "fsdp": True}


def network() -> nn.Sequential:
    """Weights that are always the same; two ranks do not divide five rows, nor one."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))


def rows() -> tuple[Tensor, Tensor]:
    """All inputs and targets, always the same."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(ROWS, 3, generator=generator), torch.randn(ROWS, 1, generator=generator)


def optimizer_of(module: nn.Module) -> AdamW:
    """Build AdamW as runs use it, at a rate that is seen after a step."""
    return AdamW(module.parameters(), lr=0.1, weight_decay=0.01)


def step(world: World, module: nn.Module, wrapped: nn.Module, optimizer: AdamW) -> tuple[dict[str, Tensor], float]:
    """Take a step on this rank's rows; returns the whole gradients before they were scaled, and their norm."""
    count = ROWS // world.size
    local = slice(world.rank * count, (world.rank + 1) * count)
    inputs, targets = rows()
    optimizer.zero_grad()
    (wrapped(inputs[local]) - targets[local]).square().mean().backward()
    gradients = {name: _whole(p.grad) for name, p in module.named_parameters() if p.grad is not None}
    norm = clip_gradients(module.parameters(), world, limit=LIMIT)
    optimizer.step()
    return gradients, norm


def two_steps(world: World, *, before: bool, after: bool) -> dict[str, Any]:
    """Take a step in one layout and the next in another, with what a checkpoint carries from one to the other."""
    module = network()
    wrapped = parallelize(module, world, shard=before, blocks=[module[0], module[2]])
    optimizer = optimizer_of(module)
    gradients, norm = step(world, module, wrapped, optimizer)
    weights, moments = full_state_dict(module, optimizer)
    resumed = network()
    wrapped = parallelize(resumed, world, shard=after, blocks=[resumed[0], resumed[2]])
    optimizer = optimizer_of(resumed)
    load_full_state_dict(resumed, optimizer, weights=weights, moments=moments)
    step(world, resumed, wrapped, optimizer)
    last, _ = full_state_dict(resumed, optimizer)
    dropped, moments_dropped = full_state_dict(resumed, optimizer, keep=False)
    assert dropped.keys() == last.keys()
    elements = [*dropped.values(), *(t for state in moments_dropped["state"].values() for t in state.values())]
    assert sum(tensor.numel() for tensor in elements) == 0, "nothing is copied"
    return {"gradients": gradients, "norm": norm, "weights": weights, "moments": moments["state"], "last": last}


def exchanged(world: World) -> dict[str, Any]:
    """Gather, add and average what differs between ranks."""
    local = (torch.arange(6.0).view(2, 3) + 10 * world.rank).requires_grad_()
    gathered = world.all_gather(local)
    (gathered * torch.arange(1.0, len(gathered) + 1)[:, None]).sum().backward()
    asked: list[int] = []
    return {
        "rows": gathered.detach(),
        "on first": world.on_first(lambda: asked.append(world.rank) or f"of rank {world.rank}"),
        "asked": asked,
        "raised": _raised(world),
        "objects on first": world.gather_object({"rank": world.rank}),
        "any": [world.any_rank(False), world.any_rank(world.rank == world.size - 1), world.any_rank(True)],
        "gradient": local.grad,
        "sum": world.all_reduce_sum(torch.tensor([1.0, world.rank + 1.0])),
        "mean": world.all_reduce_mean(torch.tensor([1.0, world.rank + 1.0])),
        "objects": world.all_gather_object({"rank": world.rank, "names": ["v"] * (world.rank + 1)}),
    }


def _raised(world: World) -> str:
    def refuse() -> None:
        raise InputError(f"rank {world.rank} refuses", hint="Ask another.")

    try:
        world.on_first(refuse)
    except InputError as error:
        return str(error)
    return "nothing"


def accumulated(world: World, *, apart: bool) -> dict[str, Tensor]:
    """Add the gradients of this rank's rows one after the other, all but the last of them kept apart or not."""
    module = network()
    wrapped = parallelize(module, world, shard=False, blocks=())
    inputs, targets = rows()
    local = range(world.rank, ROWS, world.size)
    for number, row in enumerate(local):
        with no_sync(wrapped, apart=apart and number < len(local) - 1):
            ((wrapped(inputs[row, None]) - targets[row, None]).square().mean() / len(local)).backward()
    return {name: _whole(p.grad) for name, p in module.named_parameters() if p.grad is not None}


def unreduced(world: World) -> Tensor:
    """Return a gradient that was never averaged over ranks."""
    module = network()
    wrapped = parallelize(module, world, shard=False, blocks=())
    with no_sync(wrapped, apart=True):
        wrapped(rows()[0][world.rank, None]).sum().backward()
    assert module[0].weight.grad is not None
    return module[0].weight.grad.clone()


def begun(world: World, out: Path) -> int:
    """Begin a run's folder and go on in it; returns how often this rank was asked for the files of a new one."""
    calls = []

    def files() -> dict[str, bytes]:
        calls.append(1)
        return {"tokenizer/vocab.txt": b"nodule\n"}

    for resume in (False, True):
        with open_run_folder(RunConfig(out=str(out)), files, world, resume=resume) as folder:
            assert (folder / "tokenizer" / "vocab.txt").read_bytes() == b"nodule\n"
        assert (out / "tokenizer" / "vocab.txt").read_bytes() == b"nodule\n"
    return len(calls)


def _whole(gradient: Any) -> Tensor:
    return gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient.clone()


def main(out: Path) -> None:
    """All of it, written to a file of this rank's own."""
    with distributed_context() as world:
        layouts = itertools.product(LAYOUTS, LAYOUTS)
        steps = {f"{first}, then {second}": two_steps(world, before=LAYOUTS[first], after=LAYOUTS[second]) for first, second in layouts}
        results = {
            "world": [world.rank, world.size, world.device.type],
            "exchanged": exchanged(world),
            "steps": steps,
            "accumulated": accumulated(world, apart=True),
            "every time": accumulated(world, apart=False),
            "unreduced": unreduced(world),
            "begun": begun(world, out / "run"),
        }
        torch.save(results, out / f"{world.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Print what a training run will need, and where this machine has less: `thoracle train … --dry-run`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
import typer

if TYPE_CHECKING:
    from thoracle.training.engine.config import RunConfig
    from thoracle.training.engine.plan import RunPlan

_SHARED: Final = Path("/dev/shm")


def ranks() -> tuple[int, int]:
    """Return the number of ranks of the run and of this node, as torchrun tells them."""
    return int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def print_plan(config: RunConfig, plan: RunPlan) -> None:
    """Print a plan on the first rank; nothing is made or changed."""
    if os.environ.get("RANK", "0") != "0":
        return
    for line in (*describe(config, plan), *warnings(config, plan)):
        typer.echo(line)


def describe(config: RunConfig, plan: RunPlan) -> Iterator[str]:
    """Say what a run needs, a line a part."""
    from thoracle.training.engine.plan import CARDS, UTILISATION

    yield f"parameters        {plan.parameters:,}, of which {plan.trained:,} are trained"
    parts = ", ".join(f"{name} {_shown(size)}" for name, size in plan.device.items())
    yield f"device, a rank    {_shown(plan.device_total)}: {parts}"
    sizes = {"/dev/shm": plan.shared, "read ahead": plan.buffers, "saving": plan.saving, **({"samples": plan.held} if plan.held else {})}
    parts = ", ".join(f"{name} {_shown(size)}" for name, size in sizes.items())
    yield f"host, first rank  {_shown(plan.host_total)}: {parts}"
    node, shared = plan.node_total, plan.shared * plan.local_ranks
    yield f"host, a node      {_shown(node)}, /dev/shm {_shown(shared)} ({plan.local_ranks} ranks)"
    saved = plan.checkpoint * plan.checkpoints
    yield f"disk              cache {_shown(plan.cache)}, checkpoints {_shown(saved)} ({plan.checkpoints} of {_shown(plan.checkpoint)})"
    steps = config.total_steps(plan.steps_per_epoch)
    yield f"steps an epoch    {plan.steps_per_epoch:,} of {plan.samples:,} samples on {plan.ranks} ranks; the run has {steps:,}"
    for card, peaks in CARDS.items():
        rate = plan.samples_per_second(peaks[config.precision != "float32"])
        twice = ", each read twice," if plan.reads == 2 else ","
        yield f"samples a second  {rate:.3g} a rank{twice} for an {card} at {UTILISATION:.0%} of its peak in {config.precision}"


def warnings(config: RunConfig, plan: RunPlan) -> Iterator[str]:
    """Say where this machine has less than a run needs."""
    import torch

    if torch.cuda.is_available():
        yield from _short("the device", plan.device_total, torch.cuda.get_device_properties(0).total_memory)
        host = plan.node_total
    else:
        host = plan.node_total + plan.device_total * plan.local_ranks
    yield from _short("the host", host, psutil.virtual_memory().available)
    if plan.shared and _SHARED.is_dir():
        yield from _short(str(_SHARED), plan.shared * plan.local_ranks, shutil.disk_usage(_SHARED).free)
    out = Path(config.out).absolute()
    place = next(folder for folder in (out, *out.parents) if folder.is_dir())
    yield from _short(f"the disk of {place}", plan.checkpoint * plan.checkpoints, shutil.disk_usage(place).free)


def _short(what: str, needed: int, there: int) -> Iterator[str]:
    if needed > there:
        yield f"WARNING: {what} has {_shown(there)}, the run needs {_shown(needed)}"


def _shown(size: int) -> str:
    return f"{size / 2**30:,.2f} GiB"

"""LoRA (Hu et al., arXiv:2106.09685): weights stay, and a product of two thin matrices that learns is added to each.

A parametrization of torch, so that a layer is adapted whichever way it reads its weight, and a state dict without it is one expression.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_PARTS: Final = ".parametrizations.weight."


class LoRALayer(nn.Module):
    """Add a low-rank product to a matrix; zero at the start."""

    def __init__(self, matrix: Tensor, *, rank: int) -> None:
        super().__init__()
        rows, columns = matrix.shape
        self.down = nn.Parameter(matrix.new_empty(rank, columns))
        self.up = nn.Parameter(matrix.new_zeros(rows, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, matrix: Tensor) -> Tensor:
        """Return a matrix of the same shape."""
        return matrix + self.up @ self.down


def add_lora(maps: Iterable[nn.Linear], *, rank: int) -> nn.ModuleList:
    """Give each map a `LoRALayer`; returns them, in order. Whether the maps' own weights learn is not touched."""
    added = nn.ModuleList()
    for linear in maps:
        low_rank = LoRALayer(linear.weight, rank=rank)
        parametrize.register_parametrization(linear, "weight", low_rank)
        added.append(low_rank)
    return added


@torch.no_grad()
def merge_lora(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's state as before `add_lora`, with the low-rank products added to its matrices."""
    state = {}
    for name, tensor in module.state_dict().items():
        owner, parted, part = name.partition(_PARTS)
        if not parted:
            state[name] = tensor
        elif part == "original":
            state[f"{owner}.weight"] = cast(Tensor, module.get_submodule(owner).weight).detach()
    return state

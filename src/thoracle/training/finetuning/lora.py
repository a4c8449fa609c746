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
    """Add a low-rank product to a matrix, or to a convolution's weights with a row an output channel; zero at the start."""

    def __init__(self, weight: Tensor, *, rank: int) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.down = nn.Parameter(weight.new_empty(rank, columns))
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return weights of the same shape."""
        return weight + (self.up @ self.down).view_as(weight)


def add_lora(maps: Iterable[nn.Linear | nn.Conv3d], *, rank: int) -> nn.ModuleList:
    """Give each map a `LoRALayer`; returns them, in order. Whether the maps' own weights learn is not touched."""
    added = nn.ModuleList()
    for layer in maps:
        low_rank = LoRALayer(layer.weight, rank=rank)
        parametrize.register_parametrization(layer, "weight", low_rank)
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

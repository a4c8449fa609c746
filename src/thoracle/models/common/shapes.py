"""Compute names and shapes of a module's weights without allocating them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

Shapes = Mapping[str, tuple[int, ...]]


def module_shapes(build: Callable[[Any], nn.Module], config: Any) -> dict[str, tuple[int, ...]]:
    """Build a module on the meta device and return the shapes of its state dict by name."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build(config).state_dict().items()}

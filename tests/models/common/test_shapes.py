from __future__ import annotations

from torch import nn

from thoracle.models.common.shapes import module_shapes


def test_shapes_of_a_module_too_large_for_memory() -> None:
    shapes = module_shapes(lambda width: nn.Linear(width, width), 1 << 21)
    assert shapes == {"weight": (1 << 21, 1 << 21), "bias": (1 << 21,)}

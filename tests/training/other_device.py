"""A second kind of device for tests on machines that have one kind: fake tensors on `lazy`, whose every mixture with the CPU raises.

Fake tensors have shapes and no values, and `lazy` is a type of device that every build of torch knows and that computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

DEVICE = torch.device("lazy", 0)


@contextmanager
def other_device() -> Iterator[torch.device]:
    """Yield the device; tensors that are made here are fake."""
    with FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "to", _moved)  # torch swaps a parameter's data, which fake tensors do not allow between devices
        patch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which knows no `lazy`
        patch.setattr(torch, "bincount", lambda ids, minlength: ids.new_zeros(minlength))  # as long as numbers say, which are none here
        patch.setattr("torch.utils.checkpoint._infer_device_type", lambda *_: "cpu")  # whose generators it keeps
        patch.setattr(Tensor, "item", lambda _: 0.0)
        yield DEVICE


def _moved(module: nn.Module, device: Any = None, *_: Any, **__: Any) -> nn.Module:
    """Move as `nn.Module.to` does; what several modules share stays shared."""
    done: dict[int, Tensor] = {}
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, tensor in held.items():
                if tensor is None:
                    continue
                if id(tensor) not in done:
                    moved, learns = tensor.detach().to(device), tensor.requires_grad
                    done[id(tensor)] = nn.Parameter(moved, requires_grad=learns) if isinstance(tensor, nn.Parameter) else moved
                held[name] = done[id(tensor)]  # type: ignore[assignment]
    return module

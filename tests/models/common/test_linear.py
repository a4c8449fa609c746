from __future__ import annotations

import torch

from thoracle.models.common.linear import Linear


def test_a_lowered_map_takes_float32_and_gives_its_weights_type() -> None:
    torch.manual_seed(0)
    linear = Linear(4, 3)
    x = torch.randn(2, 4)
    assert torch.equal(linear(x), torch.nn.functional.linear(x, linear.weight, linear.bias))
    lowered = Linear(4, 3)
    lowered.load_state_dict(linear.state_dict())
    lowered.to(torch.bfloat16)
    assert lowered(x).dtype == torch.bfloat16
    torch.testing.assert_close(lowered(x).float(), linear(x), atol=0.02, rtol=0.02)


def test_under_autocast_a_bfloat16_input_is_not_kept_as_float32_first() -> None:
    torch.manual_seed(0)
    linear, x = Linear(4, 3), torch.randn(2, 4).to(torch.bfloat16).requires_grad_()
    kept: list[torch.dtype] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.dtype)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        y = linear(x)
    assert torch.float32 not in kept
    assert torch.equal(y, torch.nn.functional.linear(x, linear.weight.to(torch.bfloat16), linear.bias.to(torch.bfloat16)))

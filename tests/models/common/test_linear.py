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

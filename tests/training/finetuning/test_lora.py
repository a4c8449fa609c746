"""Low-rank additions: nothing changes at the start, W + up down after it, and a merged state is a plain module's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thoracle.training.finetuning.lora import LoRALayer, add_lora, merge_lora


class Block(nn.Module):
    """Two maps, of which the first reads its weight by itself; a norm, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q = nn.Linear(6, 4, bias=False)
        self.proj = nn.Linear(4, 5)
        self.norm = nn.LayerNorm(5)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.proj(self.scale * (x @ self.to_q.weight.T)))
        return out


def _adapted(*, trained: bool) -> tuple[Block, nn.ModuleList, dict[str, Tensor]]:
    torch.manual_seed(0)
    block = Block().double()
    before = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    added = add_lora([block.to_q, block.proj], rank=2)
    if trained:
        for parameter in added.parameters():
            nn.init.normal_(parameter)
    return block, added, before


def test_at_the_start_the_output_is_unchanged_to_the_bit() -> None:
    block, _, before = _adapted(trained=False)
    plain, x = Block().double(), torch.randn(3, 6, dtype=torch.float64)
    plain.load_state_dict(before)
    assert torch.equal(block(x), plain(x))
    merged = merge_lora(block)
    assert merged.keys() == before.keys()
    assert all(torch.equal(merged[name], tensor) for name, tensor in before.items())


def test_trained_a_weight_is_its_own_and_a_product_of_the_rank() -> None:
    block, added, before = _adapted(trained=True)
    assert [(tuple(layer.down.shape), tuple(layer.up.shape)) for layer in added] == [((2, 6), (4, 2)), ((2, 4), (5, 2))]
    for linear, layer, name in ((block.to_q, added[0], "to_q.weight"), (block.proj, added[1], "proj.weight")):
        change = linear.weight - before[name]
        torch.testing.assert_close(change, layer.up @ layer.down)
        assert torch.linalg.matrix_rank(change) == 2


def test_a_merged_state_gives_a_plain_module_the_same_output() -> None:
    block, _, before = _adapted(trained=True)
    merged = merge_lora(block)
    assert merged.keys() == before.keys()
    plain, x = Block().double(), torch.randn(3, 6, dtype=torch.float64)
    plain.load_state_dict(merged)
    torch.testing.assert_close(plain(x), block(x), atol=1e-12, rtol=0)
    plain.load_state_dict(before)
    assert not torch.allclose(plain(x), block(x)), "what was added is seen"
    assert all(torch.equal(merged[name], before[name]) for name in before if name not in ("to_q.weight", "proj.weight"))
    assert not any(tensor.requires_grad for tensor in merged.values())


def test_a_module_without_additions_is_merged_as_it_is() -> None:
    plain = Block()
    assert all(torch.equal(tensor, plain.state_dict()[name]) for name, tensor in merge_lora(plain).items())


def test_the_first_gradient_moves_what_is_zero_and_leaves_frozen_weights_alone() -> None:
    """As published: up begins as zero, so that down has no gradient at first, and up has."""
    torch.manual_seed(0)
    block = Block()
    block.requires_grad_(False)
    added = add_lora([block.to_q, block.proj], rank=2)
    assert [name for name, parameter in block.named_parameters() if parameter.requires_grad] == [
        f"{owner}.parametrizations.weight.0.{part}" for owner in ("to_q", "proj") for part in ("down", "up")
    ]
    block(torch.randn(3, 6)).square().sum().backward()
    for layer in added:
        assert isinstance(layer, LoRALayer)
        assert not layer.up.any()
        assert layer.down.any()
        assert layer.up.grad is not None
        assert layer.up.grad.any()
        assert layer.down.grad is not None
        assert not layer.down.grad.any()


def test_a_convolution_is_adapted_as_a_matrix_of_its_output_channels() -> None:
    torch.manual_seed(0)
    conv = nn.Conv3d(2, 4, (1, 3, 3), bias=False)
    before, x = conv.weight.detach().clone(), torch.randn(1, 2, 2, 5, 5)
    (layer,) = add_lora([conv], rank=2)
    assert torch.equal(conv(x), nn.functional.conv3d(x, before))
    with torch.no_grad():
        layer.up.normal_()
    expected = before + (layer.up @ layer.down).view(4, 2, 1, 3, 3)
    torch.testing.assert_close(conv(x), nn.functional.conv3d(x, expected))
    torch.testing.assert_close(merge_lora(nn.ModuleDict({"conv": conv})), {"conv.weight": expected.detach()})

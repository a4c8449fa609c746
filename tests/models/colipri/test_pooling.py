"""Attention pooling, on weights that let the result be written down."""

from __future__ import annotations

import torch

from thoracle.models.colipri.pooling import AttentionPooler


def _pooler() -> AttentionPooler:
    """Queries and keys of 0, so that all tokens weigh alike; values doubled."""
    pooler = AttentionPooler(4, heads=2).eval()
    with torch.no_grad():
        pooler.attn.in_proj_weight.zero_()
        pooler.attn.in_proj_weight[8:].copy_(2 * torch.eye(4))
        pooler.attn.in_proj_bias.zero_()
        pooler.attn.out_proj.weight.copy_(torch.eye(4))
        pooler.attn.out_proj.bias.fill_(1)
    return pooler


@torch.no_grad()
def test_what_is_masked_is_not_pooled() -> None:
    tokens = torch.tensor([[[1.0, 2, 3, 4], [3, 4, 5, 6], [90, 90, 90, 90]]])
    torch.testing.assert_close(_pooler()(tokens, torch.tensor([[1, 1, 0]])), torch.tensor([[5.0, 7, 9, 11]]))
    torch.testing.assert_close(_pooler()(tokens[:, :2]), torch.tensor([[5.0, 7, 9, 11]]))


@torch.no_grad()
def test_each_token_alone() -> None:
    tokens = torch.tensor([[[[1.0, 2, 3, 4], [3, 4, 5, 6]]]])
    torch.testing.assert_close(_pooler().project_values(tokens), 2 * tokens + 1)

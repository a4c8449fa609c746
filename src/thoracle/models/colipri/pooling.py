"""Pool tokens of the joint space by attention.

Shapes: B batch, N tokens, L latent width.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn


class AttentionPooler(nn.Module):
    """Attend from the mean of the tokens to each of them."""

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, tokens_BNL: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        """Return (B, L). Where `mask_BN` is 0 there is no token."""
        if mask_BN is None:
            mean_B1L, absent_BN = tokens_BNL.mean(dim=1, keepdim=True), None
        else:
            weights_BN1 = mask_BN[..., None].to(tokens_BNL.dtype)
            mean_B1L = (tokens_BNL * weights_BN1).sum(dim=1, keepdim=True) / weights_BN1.sum(dim=1, keepdim=True)
            absent_BN = mask_BN == 0
        pooled_B1L, _ = self.attn(mean_B1L, tokens_BNL, tokens_BNL, key_padding_mask=absent_BN, need_weights=False)
        return cast(Tensor, pooled_B1L)[:, 0]

    def project_values(self, tokens: Tensor) -> Tensor:
        """Map each token (…, L) as if attention saw it alone."""
        dim = tokens.shape[-1]
        values = F.linear(tokens, self.attn.in_proj_weight[2 * dim :], self.attn.in_proj_bias[2 * dim :])
        return cast(Tensor, self.attn.out_proj(values))

"""CT-CHAT's projector: a scan's tokens to what a language model reads in place of words; knows no language model.

Attribute names are the published state-dict keys (Hamamci et al., arXiv:2403.17834 and its code).

Shapes: B scans, T h w tokens of a scan, C their width, N = T h w; Q queries, D width of the pooler, H width of the language model's
embeddings.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.errors import InputError
from thoracle.models.config import ProjectorConfig


class AttentionalPooler(nn.Module):
    """Learned queries look at every token once: N tokens become Q rows."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Parameter(torch.randn(config.queries, config.dim) * config.dim**-0.5)
        self.place = nn.Parameter(torch.zeros(config.places, config.dim_context)) if config.places else None
        self.ln_k = nn.LayerNorm(config.dim_context)
        self.ln_q = nn.LayerNorm(config.dim)
        self.to_q = nn.Linear(config.dim, config.inner, bias=False)
        self.to_kv = nn.Linear(config.dim_context, 2 * config.inner, bias=False)
        self.to_out = nn.Linear(config.inner, config.dim, bias=False)

    def forward(self, tokens_BNC: Tensor) -> Tensor:
        """(B, Q, D); no residual, as published.

        Raises:
            InputError: places are learned, and there are more or fewer tokens.
        """
        if self.place is not None:
            if self.place.shape[0] != tokens_BNC.shape[1]:
                fact = f"{tokens_BNC.shape[1]} tokens of a scan, where the projector knows {self.place.shape[0]} places"
                raise InputError(fact, cure="Give scans as its encoder sees them.")
            tokens_BNC = tokens_BNC + self.place
        key, value = self.to_kv(self.ln_k(tokens_BNC)).chunk(2, dim=-1)
        query = self.to_q(self.ln_q(self.query)).expand(len(tokens_BNC), -1, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        return cast(Tensor, self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)))


class Projector(nn.Module):
    """Pooler, LayerNorm, and a two-layer MLP into the language model's embeddings."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.config = config
        self.attn_pool = AttentionalPooler(config)
        self.ln = nn.LayerNorm(config.dim)
        self.proj = nn.Sequential(nn.Linear(config.dim, config.hidden), nn.GELU(), nn.Linear(config.hidden, config.hidden))

    def forward(self, tokens_BTHWC: Tensor) -> Tensor:
        """(B, Q, H)."""
        return cast(Tensor, self.proj(self.ln(self.attn_pool(tokens_BTHWC.flatten(1, -2)))))

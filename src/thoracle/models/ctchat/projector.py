"""CT-CHAT's projector: a scan's tokens to what a language model reads in place of words.

Attribute names are the published state-dict keys (Hamamci et al., arXiv:2403.17834 and its code); `findings` is ours.

Shapes: B scans, T h w tokens of a scan, C their width, N = T h w; Q queries, D width of the pooler, K findings, A what is told of each
(`FINDING_ATTRIBUTES`), H width of the language model's embeddings.
"""

from __future__ import annotations

from typing import Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.errors import InputError
from thoracle.models.ctchat.config import ProjectorConfig

#: What is told of a finding, as 0 to 1 each; and what a row says of it beside its name: yes as far as it is there and no as far as not.
FINDING_ATTRIBUTES: Final = ("there", "on the left", "on the right")
ANSWER_WORDS: Final = ("Yes", "No", "Left", "Right")


def embed_findings(told_BKA: Tensor, name_KH: Tensor, said_SH: Tensor) -> Tensor:
    """Embed findings as (B, K, H): the name of each finding plus each word of `ANSWER_WORDS` by its probability."""
    there, sides = told_BKA[..., :1], told_BKA[..., 1:]
    return name_KH + torch.cat([there, 1 - there, sides], dim=-1) @ said_SH


class AttentionalPooler(nn.Module):
    """Pool tokens by learned queries, which look at every token once: N tokens become Q rows."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Parameter(torch.randn(config.num_queries, config.dim) * config.dim**-0.5)
        self.place = nn.Parameter(torch.zeros(config.num_positions, config.dim_context)) if config.num_positions else None
        self.ln_k = nn.LayerNorm(config.dim_context)
        self.ln_q = nn.LayerNorm(config.dim)
        self.to_q = nn.Linear(config.dim, config.attention_dim, bias=False)
        self.to_kv = nn.Linear(config.dim_context, 2 * config.attention_dim, bias=False)
        self.to_out = nn.Linear(config.attention_dim, config.dim, bias=False)

    def forward(self, tokens_BNC: Tensor) -> Tensor:
        """Return (B, Q, D); no residual, as published."""
        if self.place is not None:
            tokens_BNC = tokens_BNC + self.place
        key, value = self.to_kv(self.ln_k(tokens_BNC)).chunk(2, dim=-1)
        query = self.to_q(self.ln_q(self.query)).expand(len(tokens_BNC), -1, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        return cast(Tensor, self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)))


class FindingTokens(nn.Module):
    """Add a token per finding: its name, whether the scan shows it, and on which sides (`embed_findings`).

    What is shown is read by one linear map of all tokens at their places. The map is not trained by gradient: it begins and stays as it
    was fitted to reports (`training/chat/ridge_probe.py`), for a gradient learns scans by heart long before it reads them as well.
    """

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        K, H = config.num_findings, config.hidden_size
        self.weight = nn.Parameter(torch.zeros(K * len(FINDING_ATTRIBUTES), config.num_positions * config.dim_context), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(K * len(FINDING_ATTRIBUTES)), requires_grad=False)
        self.name = nn.Parameter(torch.zeros(K, H))
        self.said = nn.Parameter(torch.zeros(len(ANSWER_WORDS), H))

    def forward(self, tokens_BNC: Tensor) -> Tensor:
        """Return (B, K, H)."""
        shown_BKA = F.linear(tokens_BNC.flatten(1), self.weight, self.bias).sigmoid().view(len(tokens_BNC), -1, len(FINDING_ATTRIBUTES))
        return embed_findings(shown_BKA, self.name, self.said)


class Projector(nn.Module):
    """Apply pooler, LayerNorm, and a two-layer MLP into the language model's embeddings; before these rows those of findings, where
    there are.
    """

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.config = config
        self.attn_pool = AttentionalPooler(config)
        self.ln = nn.LayerNorm(config.dim)
        self.proj = nn.Sequential(nn.Linear(config.dim, config.hidden_size), nn.GELU(), nn.Linear(config.hidden_size, config.hidden_size))
        self.findings = FindingTokens(config) if config.num_findings else None

    @property
    def hidden(self) -> int:
        """Return H."""
        return self.config.hidden_size

    def forward(self, tokens_BTHWC: Tensor) -> Tensor:
        """Return (B, K + Q, H).

        Raises:
            InputError: it has position embeddings, and there are more or fewer tokens.
        """
        tokens_BNC = tokens_BTHWC.flatten(1, -2)
        count = self.config.num_positions
        if count and count != tokens_BNC.shape[1]:
            detail = f"{tokens_BNC.shape[1]} tokens of a scan, where num_positions of the projector is {count}"
            raise InputError(detail, hint="Give scans as its encoder sees them.")
        rows_BQH = cast(Tensor, self.proj(self.ln(self.attn_pool(tokens_BNC))))
        return rows_BQH if self.findings is None else torch.cat([self.findings(tokens_BNC), rows_BQH], dim=1)

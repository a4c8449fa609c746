"""Classify image latents or tokens of CT-CLIP.

Shapes: B batch, K findings, L latent width, N tokens; T, h, w, D as in `ctvit`.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.models.ctclip.config import CTCLIPConfig


class LinearClassifier(nn.Module):
    """Classify image latents as LiPro does: logits, one a label. In published files its keys lie beside `trained_model.*`, a CT-CLIP."""

    def __init__(self, dim_latent: int, *, n_labels: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.3)
        self.classifier = nn.Linear(dim_latent, n_labels)

    def forward(self, latent_BL: Tensor) -> Tensor:
        """Return logits (B, labels)."""
        return cast(Tensor, self.classifier(self.dropout(F.relu(latent_BL))))


class LabelAttention(nn.Module):
    """Classify by labels that attend to tokens and, where the configuration says so, to each other, so that they inform each other.

    Labels are queries of a transformer's decoder, as in Query2Label (Liu et al., arXiv:2107.10834), of one layer; tokens come first, so
    that labels tell each other what they saw. Tokens are told where they are.
    """

    def __init__(self, config: CTCLIPConfig, *, n_labels: int) -> None:
        super().__init__()
        dim, heads, grid = config.ctvit.dim, config.ctvit.heads, config.ctvit.grid
        self.labels = nn.Parameter(torch.randn(n_labels, dim) * dim**-0.5)
        self.pos_embed_t = nn.Parameter(torch.zeros(config.steps, 1, 1, dim))
        self.pos_embed_h = nn.Parameter(torch.zeros(grid, 1, dim))
        self.pos_embed_w = nn.Parameter(torch.zeros(grid, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.cross_attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.self_attention = nn.MultiheadAttention(dim, heads, batch_first=True) if config.label_self_attention else None
        self.self_norm = nn.LayerNorm(dim) if config.label_self_attention else None
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.dropout = nn.Dropout(0.1)
        self.weight = nn.Parameter(torch.randn(n_labels, dim) * dim**-0.5)
        self.bias = nn.Parameter(torch.zeros(n_labels))

    def forward(self, tokens_BTHWD: Tensor) -> Tensor:
        """Return logits (B, labels)."""
        x_BKD, tokens_BND = self._begun(tokens_BTHWD)
        x_BKD = x_BKD + self.dropout(self.cross_attention(self.norms[0](x_BKD), tokens_BND, tokens_BND, need_weights=False)[0])
        if self.self_attention is not None and self.self_norm is not None:
            normed_BKD = self.self_norm(x_BKD)
            x_BKD = x_BKD + self.dropout(self.self_attention(normed_BKD, normed_BKD, normed_BKD, need_weights=False)[0])
        x_BKD = self.norms[2](x_BKD + self.dropout(self.mlp(self.norms[1](x_BKD))))
        return cast(Tensor, (self.dropout(x_BKD) * self.weight).sum(dim=-1) + self.bias)

    def attention(self, tokens_BTHWD: Tensor) -> Tensor:
        """Return (B, labels, T, h, w): attention of each label to each token, the mean over heads; sums to 1."""
        x_BKD, tokens_BND = self._begun(tokens_BTHWD)
        _, weights_BKN = self.cross_attention(self.norms[0](x_BKD), tokens_BND, tokens_BND, need_weights=True)
        return cast(Tensor, weights_BKN.unflatten(-1, tokens_BTHWD.shape[1:4]))

    def _begun(self, tokens_BTHWD: Tensor) -> tuple[Tensor, Tensor]:
        """Labels (B, K, D) and placed tokens (B, N, D)."""
        tokens_BND = (tokens_BTHWD + self.pos_embed_t + self.pos_embed_h + self.pos_embed_w).flatten(1, 3)
        return self.labels.expand(len(tokens_BND), -1, -1), tokens_BND

"""Classify volumes by the tokens of an encoder of any kind.

Shapes: B batch, N tokens of width D, Q queries, K labels; the axes of tokens are those of the encoder.
"""

from __future__ import annotations

from typing import Final, cast

import torch
from torch import Tensor, nn

from thoracle.models.common.running_statistics import keep_statistics
from thoracle.models.encoder import GridEncoder, LatentEncoder, Outputs, PatchEmbeddings, PatchEncoder, VolumeEmbedding, VolumeEncoder
from thoracle.models.tokenclassifier.config import HeadKind, TokenClassifierConfig

_DROPOUT: Final = 0.1


class TokenHead(nn.Module):
    """Pool tokens once, or once a label, and map what is pooled to logits."""

    def __init__(self, kind: HeadKind, dim: int, *, labels: int) -> None:
        super().__init__()
        queries = {"linear": 0, "attention": 1, "label-attention": labels}[kind]
        self.norm = nn.LayerNorm(dim)
        self.queries = nn.Parameter(torch.randn(queries, dim) * dim**-0.5) if queries else None
        self.dropout = nn.Dropout(_DROPOUT)
        self.weight = nn.Parameter(torch.randn(labels, dim) * dim**-0.5)
        self.bias = nn.Parameter(torch.zeros(labels))

    def forward(self, tokens: Tensor) -> Tensor:
        """Compute logits (B, K) of tokens (B, …, D), or of their mean (B, D) where it is what is pooled."""
        tokens_BND = tokens.float().reshape(len(tokens), -1, tokens.shape[-1])
        if self.queries is None:
            pooled_BQD = self.norm(tokens_BND.mean(dim=1, keepdim=True))
        else:
            normed_BND = self.norm(tokens_BND)
            pooled_BQD = self._weights(normed_BND) @ normed_BND
        return cast(Tensor, (self.dropout(pooled_BQD) * self.weight).sum(dim=-1) + self.bias)

    def attention(self, tokens: Tensor) -> Tensor:
        """Compute how much each query looks at each token: (B, Q, …)."""
        weights_BQN = self._weights(self.norm(tokens.float().flatten(1, -2)))
        return weights_BQN.view(*weights_BQN.shape[:2], *tokens.shape[1:-1])

    def _weights(self, normed_BND: Tensor) -> Tensor:
        assert self.queries is not None, "this head attends"
        logits_BQN: Tensor = self.queries @ normed_BND.transpose(1, 2) * normed_BND.shape[-1] ** -0.5
        return logits_BQN.softmax(dim=-1)


class TokenClassifier(nn.Module):
    """Encode by the encoder and classify by the head."""

    def __init__(self, config: TokenClassifierConfig, encoder: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.head = TokenHead(config.head, self._image.outputs.token_dim, labels=len(config.labels))

    def train(self, mode: bool = True) -> TokenClassifier:
        """Set the mode of all but what keeps running statistics."""
        super().train(mode)
        keep_statistics(self.encoder)
        return self

    @property
    def outputs(self) -> Outputs:
        """Return the widths of the encoder's tokens and latents."""
        return self._image.outputs

    def token_grid(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Count the tokens along each axis of an input of this size, where the encoder's lie on a grid."""
        return cast(GridEncoder, self.encoder).token_grid(size)

    def encode_volume(self, volume_B1: Tensor) -> VolumeEmbedding:
        """Encode volumes as the encoder does, with logits of the classifier's labels."""
        embedding = self._image.encode_volume(volume_B1)
        return VolumeEmbedding(tokens=embedding.tokens, latent_BL=embedding.latent_BL, logits_BK=self.classify_tokens(embedding.tokens))

    def classify_tokens(self, tokens: Tensor) -> Tensor:
        """Compute logits (B, K)."""
        return cast(Tensor, self.head(tokens))

    def attend_labels(self, tokens: Tensor) -> Tensor:
        """Compute how much each label looks at each token: (B, K, …)."""
        return self.head.attention(tokens)

    def project_tokens(self, tokens: Tensor) -> Tensor:
        """Project the encoder's tokens to its latents, where it has such."""
        return cast(LatentEncoder, self.encoder).project_tokens(tokens)

    def embed_patches(self, volume_B1: Tensor) -> PatchEmbeddings:
        """Embed each patch alone, where the encoder does."""
        return cast(PatchEncoder, self.encoder).embed_patches(volume_B1)

    def encode_patches(self, patches: PatchEmbeddings) -> Tensor:
        """Compute the tokens of embedded patches, where the encoder does."""
        return cast(PatchEncoder, self.encoder).encode_patches(patches)

    @property
    def _image(self) -> VolumeEncoder:
        return cast(VolumeEncoder, self.encoder)

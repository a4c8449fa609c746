"""Encode volumes and, where it came with its tokenizer, texts by a model of the Merlin family, and answer its labels.

Attribute names are the published state-dict keys, without the prefixes of the several layouts; `text_side` is `encode_text` there.

Shapes: B batch, (X, Y, Z) voxels, (x, y, z) features, D their width, L latent width, K labels.
"""

from __future__ import annotations

from typing import Final, cast

import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.models.encoder import EncodedText, Outputs, VolumeEmbedding
from thoracle.models.merlin.config import MerlinConfig
from thoracle.models.merlin.i3_resnet import STRIDES, I3ResNet
from thoracle.models.text.config import TextConfig
from thoracle.models.text.encoder import BertEncoder

#: As published; the text encoder itself could read four times as many.
MOST_TEXT_TOKENS: Final = 1024


class MerlinText(nn.Module):
    """Map a Longformer's first token into the space of volumes. As published no token sees all others, not even the first."""

    def __init__(self, config: TextConfig, dim: int) -> None:
        super().__init__()
        self.text_encoder = BertEncoder(config, pooler=False)
        self.linear_layer = nn.Linear(config.hidden_size, dim)

    def forward(self, text: EncodedText) -> Tensor:
        """Encode texts as latents of unit norm (B, L)."""
        hidden_BND = self.text_encoder.hidden_states(text.input_ids_BN, text.attention_mask_BN)
        return F.normalize(self.linear_layer(hidden_BND[:, 0]), dim=-1)


class Merlin(I3ResNet):
    """Add to the image network what its file has of a contrastive head, a classifier and a text encoder.

    Attributes:
        logit_scale: None: the file has one, and no published inference uses it.
    """

    logit_scale: None = None

    def __init__(self, config: MerlinConfig) -> None:
        super().__init__(config)
        self.config = config
        self.contrastive_head = None if config.contrastive_dim is None else nn.Conv3d(config.dim, config.contrastive_dim, 1)
        self.classifier = nn.Conv3d(config.dim, config.num_labels, 1) if config.num_labels else None
        self.text_side = None if config.bert is None or config.contrastive_dim is None else MerlinText(config.bert, config.contrastive_dim)

    @property
    def outputs(self) -> Outputs:
        """Return the widths of tokens and latents."""
        return Outputs(token_dim=self.config.dim, latent_dim=self.config.contrastive_dim or self.config.dim)

    @property
    def max_text_tokens(self) -> int:
        """Return the longest text that is read, in tokens."""
        assert self.config.bert is not None, "a model without texts is not asked for them"
        return min(MOST_TEXT_TOKENS, self.config.bert.max_tokens)

    def token_grid(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Count the tokens along each axis of an input of this size."""
        x, y, z = (-(-side // stride) for side, stride in zip(size, STRIDES, strict=True))
        return x, y, z

    def encode_volume(self, volume_B1XYZ: Tensor) -> VolumeEmbedding:
        """Encode volumes (B, 1, X, Y, Z) of any size in the interval 0 to 1."""
        tokens_BxyzD = self.encode_features(volume_B1XYZ.permute(0, 1, 4, 2, 3)).permute(0, 3, 4, 2, 1)
        return VolumeEmbedding(
            tokens=tokens_BxyzD,
            latent_BL=self.project_tokens(tokens_BxyzD),
            logits_BK=None if self.classifier is None else self.classify_tokens(tokens_BxyzD),
        )

    def project_tokens(self, tokens_BxyzD: Tensor) -> Tensor:
        """Pool tokens, and apply the contrastive head where there is one: latents of unit norm (B, L)."""
        pooled_BD = pooled(tokens_BxyzD)
        return F.normalize(pooled_BD if self.contrastive_head is None else _apply(self.contrastive_head, pooled_BD), dim=-1)

    def classify_tokens(self, tokens_BxyzD: Tensor) -> Tensor:
        """Compute the logits (B, K) of its labels."""
        assert self.classifier is not None, "a model without labels is not asked for them"
        return _apply(self.classifier, pooled(tokens_BxyzD))

    def encode_text(self, text: EncodedText) -> Tensor:
        """Encode texts as latents of unit norm (B, L)."""
        assert self.text_side is not None, "a model without texts is not asked for them"
        return cast(Tensor, self.text_side(text))


def pooled(tokens_BxyzD: Tensor) -> Tensor:
    """Average tokens: (B, D)."""
    return tokens_BxyzD.mean(dim=(1, 2, 3))


def _apply(head: nn.Conv3d, pooled_BD: Tensor) -> Tensor:
    return F.linear(pooled_BD, head.weight.flatten(1), head.bias)

"""Encode volumes and texts into one space by COLIPRI.

Attribute names are the published state-dict keys.

Shapes: B batch, (X, Y, Z) voxels and (x, y, z) patches in the order of the recipe, D width of tokens, L latent width, N tokens of a text.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.errors import InputError
from thoracle.models.colipri.config import ColipriConfig
from thoracle.models.colipri.image_encoder import EvaEncoder
from thoracle.models.colipri.pooling import AttentionPooler
from thoracle.models.encoder import EncodedText, Outputs, PatchEmbeddings, VolumeEmbedding
from thoracle.models.text.encoder import BertEncoder

#: An untrained model divides cosines by this; the published value is in the published file.
TEMPERATURE = 0.07


class ColipriImage(nn.Module):
    """Encode volumes, project their tokens into the joint space, and pool them."""

    def __init__(self, config: ColipriConfig) -> None:
        super().__init__()
        self.backbone = EvaEncoder(config)
        self.projector = nn.Conv3d(config.embed_dim, config.bert.hidden_size, 1)
        self.pooler = AttentionPooler(config.bert.hidden_size, heads=config.pooler_heads)

    def project(self, tokens: Tensor) -> Tensor:
        """Map tokens (…, D) to (…, L)."""
        return F.linear(tokens, self.projector.weight.flatten(1), self.projector.bias)


class ColipriText(nn.Module):
    """Encode texts by a BERT, and pool their tokens."""

    def __init__(self, config: ColipriConfig) -> None:
        super().__init__()
        self._config = config
        self.backbone = BertEncoder(config.bert, pooler=False)
        self.pooler = AttentionPooler(config.bert.hidden_size, heads=config.pooler_heads)

    def forward(self, text: EncodedText) -> Tensor:
        """Pool texts to (B, L)."""
        ids_BN, mask_BN = text.input_ids_BN, text.attention_mask_BN
        if self._config.text_pooling == "valid":
            return cast(Tensor, self.pooler(self.backbone.hidden_states(ids_BN, mask_BN), mask_BN))
        padding = (0, self._config.bert.max_tokens - ids_BN.shape[1])
        ids_BN, mask_BN = F.pad(ids_BN, padding, value=self._config.bert.pad_token_id), F.pad(mask_BN, padding)
        return cast(Tensor, self.pooler(self.backbone.hidden_states(ids_BN, mask_BN)))


class Colipri(nn.Module):
    """Combine an image encoder and a text encoder of one joint space."""

    def __init__(self, config: ColipriConfig) -> None:
        super().__init__()
        self.config = config
        self.softmax_temperature = nn.Parameter(torch.tensor(TEMPERATURE))
        self.image_encoder = ColipriImage(config)
        self.text_encoder = ColipriText(config)

    @property
    def outputs(self) -> Outputs:
        """Return the widths of tokens and latents."""
        return Outputs(token_dim=self.config.embed_dim, latent_dim=self.config.bert.hidden_size)

    @property
    def logit_scale(self) -> Tensor:
        """Return the scalar that multiplies cosine similarities."""
        return 1 / self.softmax_temperature.float()

    @property
    def max_text_tokens(self) -> int:
        """Return the longest text that is read, in tokens."""
        return self.config.bert.max_tokens

    def token_grid(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Count the tokens along each axis of an input of this size."""
        x, y, z = (side // patch for side, patch in zip(size, self.config.patch_size, strict=True))
        return x, y, z

    def encode_volume(self, volume_B1XYZ: Tensor) -> VolumeEmbedding:
        """Encode volumes (B, 1, X, Y, Z) in the interval -1 to 1.

        Raises:
            InputError: a size that is no whole number of patches, or is less than `input_shape`.
        """
        tokens_BxyzD = self.encode_patches(self.embed_patches(volume_B1XYZ))
        projected_BxyzL = self.image_encoder.project(tokens_BxyzD)
        return VolumeEmbedding(
            tokens=tokens_BxyzD,
            latent_BL=self._pool(projected_BxyzL),
            patch_latents=_unit(self.image_encoder.pooler.project_values(projected_BxyzL)),
        )

    def project_tokens(self, tokens_BxyzD: Tensor) -> Tensor:
        """Project and pool tokens to latents of unit norm (B, L)."""
        return self._pool(self.image_encoder.project(tokens_BxyzD))

    def embed_patches(self, volume_B1XYZ: Tensor) -> PatchEmbeddings:
        """Embed each patch alone; raises InputError as `encode_volume`."""
        sides, config = volume_B1XYZ.shape[2:], self.config
        if any(side % patch or side < least for side, patch, least in zip(sides, config.patch_size, config.input_shape, strict=True)):
            detail = f"expected volumes of {config.input_shape} voxels or of more whole patches of {config.patch_size}, got {tuple(sides)}"
            raise InputError(detail, hint="Give what the model's own preprocessing gives.")
        return PatchEmbeddings(patch_embeddings=self.image_encoder.backbone.embed_patches(volume_B1XYZ))

    def encode_patches(self, patches: PatchEmbeddings) -> Tensor:
        """Compute the tokens (B, x, y, z, D) of embedded patches."""
        return self.image_encoder.backbone.encode_patches(patches.patch_embeddings)

    def encode_text(self, text: EncodedText) -> Tensor:
        """Encode texts as latents of unit norm (B, L)."""
        return _unit(self.text_encoder(text))

    def _pool(self, projected_BxyzL: Tensor) -> Tensor:
        return _unit(self.image_encoder.pooler(projected_BxyzL.flatten(1, 3)))


def _unit(latents: Tensor) -> Tensor:
    return F.normalize(latents, dim=-1)

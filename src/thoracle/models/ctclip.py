"""CT-CLIP: volumes and texts in one latent space (Hamamci et al., arXiv:2403.17834); knows nothing of prompts' words or of files.

Attribute names are the published state-dict keys.

Shapes: B batch, N tokens, L latent width; T, h, w, D as in `ctvit`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.models.cells import GridPool, SliceAttention
from thoracle.models.ctclip_config import CTCLIPConfig
from thoracle.models.ctvit import CTViT, VolumeTokens
from thoracle.models.layers import CosineAttention, FeedForward
from thoracle.models.linear import Linear
from thoracle.models.losses import contrastive_loss, pair_logits
from thoracle.models.text import Layer, TextEncoder, first_token


@dataclass(frozen=True, kw_only=True, eq=False)
class VolumeEncoding:
    """What is made of volumes: tokens (B, T, h, w, D), their indices (B, T h w) in a codebook or None without one, latents of unit norm
    (B, L)."""

    tokens_BTHWD: Tensor
    indices_BN: Tensor | None
    latent_BL: Tensor


class CTCLIP(nn.Module):
    """An image encoder, a text encoder, and a linear map from each into the latent space."""

    def __init__(self, config: CTCLIPConfig) -> None:
        super().__init__()
        self.config = config
        text, image, latent = config.bert.hidden_size, config.dim_pooled, config.dim_latent
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.text_transformer = TextEncoder(config.bert)
        self.visual_transformer = CTViT(config.ctvit)
        self.slices = SliceAttention(config.ctvit.dim, heads=config.ctvit.heads) if config.slices == "attention" else None
        self.pool = GridPool(config.ctvit.dim, channels=config.pool_channels) if config.pool == "grid" else None
        self.to_text_latent = Linear(text, latent, bias=False)
        self.to_visual_latent = Linear(image, latent, bias=False)
        # Published files hold the second pair always; it starts as a copy and is used with CLOOB's loss only.
        self.to_text_latent_extra = nn.Linear(text, latent, bias=False)
        self.to_visual_latent_extra = nn.Linear(image, latent, bias=False)
        self.to_text_latent_extra.load_state_dict(self.to_text_latent.state_dict())
        self.to_visual_latent_extra.load_state_dict(self.to_visual_latent.state_dict())

    def encode_volume(self, volume_B1ZHW: Tensor) -> VolumeEncoding:
        """Volumes (B, 1, Z, H, W) in units of 1000 HU.

        Raises:
            InputError: a size the model was not made for.
        """
        encoded = self.visual_transformer(volume_B1ZHW)
        latent_BL = self.latents_of(self.read_tokens(encoded))
        return VolumeEncoding(tokens_BTHWD=encoded.tokens_BTHWD, indices_BN=encoded.indices_BN, latent_BL=latent_BL)

    def read_tokens(self, encoded: VolumeTokens) -> Tensor:
        """The tokens (B, T, h, w, D) that latents are read from: codes, or with a pool of the grid what they were before the codebook."""
        return encoded.tokens_BTHWD if self.pool is None else encoded.before_codebook_BND.view(encoded.tokens_BTHWD.shape)

    def latents_of(self, tokens_BTHWD: Tensor) -> Tensor:
        """Latents of unit norm (B, L) of what `read_tokens` gives."""
        return _project(self.to_visual_latent, self._pool_volume(tokens_BTHWD))

    def encode_text(self, input_ids_BN: Tensor, attention_mask_BN: Tensor) -> Tensor:
        """Latents of unit norm (B, L). Columns that are padding in every row are not computed."""
        return _project(self.to_text_latent, first_token(self.text_transformer, input_ids_BN, attention_mask_BN))

    def encode_pairs(self, input_ids_BN: Tensor, attention_mask_BN: Tensor, volume_B1ZHW: Tensor) -> tuple[Tensor, ...]:
        """Latents of texts and volumes, (B, L) each, as `pair_logits` takes them: text, image, and with CLOOB's projections both again."""
        text_BD = first_token(self.text_transformer, input_ids_BN, attention_mask_BN)
        image_BD = self._pool_volume(self.read_tokens(self.visual_transformer(volume_B1ZHW)))
        latents = _project(self.to_text_latent, text_BD), _project(self.to_visual_latent, image_BD)
        if not self.config.extra_latent_projection:
            return latents
        return (*latents, _project(self.to_text_latent_extra, text_BD), _project(self.to_visual_latent_extra, image_BD))

    def forward(self, input_ids_BN: Tensor, attention_mask_BN: Tensor, volume_B1ZHW: Tensor) -> Tensor:
        """The contrastive loss of B texts and their B volumes, as the config says: a scalar."""
        logits = pair_logits(self.encode_pairs(input_ids_BN, attention_mask_BN, volume_B1ZHW), self.temperature.exp())
        return contrastive_loss(*logits, decoupled=self.config.decoupled_loss)

    def blocks(self) -> Iterator[nn.Module]:
        """Layers that may be computed again, compiled, or gathered one at a time."""
        return (module for module in self.modules() if isinstance(module, CosineAttention | FeedForward | Layer))

    def _pool_volume(self, tokens_BTHWD: Tensor) -> Tensor:
        mean_BHWD = tokens_BTHWD.mean(dim=1) if self.slices is None else cast(Tensor, self.slices(tokens_BTHWD))
        return mean_BHWD.flatten(1) if self.pool is None else cast(Tensor, self.pool(tokens_BTHWD, mean_BHWD))


def _project(to_latent: nn.Linear, pooled: Tensor) -> Tensor:
    return F.normalize(to_latent(pooled).to(pooled.dtype), dim=-1)

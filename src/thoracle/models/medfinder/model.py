"""Encode two views of a volume and a text into one latent space by MedFinder (Chen et al., arXiv:2403.15992).

Built as the paper describes and not as its code does: docs/decisions/0031-medfinder.md says where they part.

Shapes: B batch, V views (1 or 2), (Z, H, W) voxels, N tokens, L latent width; T, h, w the grid of tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.models.common.linear import Linear
from thoracle.models.encoder import EncodedText, Outputs, VolumeEmbedding
from thoracle.models.medfinder.config import MedFinderConfig
from thoracle.models.medfinder.image_encoder import ImageEncoder
from thoracle.models.text.encoder import BertEncoder, TransformerLayer, first_token

#: What the published code divides logits by; a constant there.
TEMPERATURE = 0.07


class MedFinder(nn.Module):
    """Combine an image encoder, cross-attention between views, a text encoder, and a linear map from each encoder into the latent space."""

    def __init__(self, config: MedFinderConfig) -> None:
        super().__init__()
        self.config = config
        #: The logarithm of what cosines are multiplied by, as CT-CLIP's.
        self.temperature = nn.Parameter(torch.tensor(-math.log(TEMPERATURE)))
        self.text_transformer = BertEncoder(config.bert)
        self.image = ImageEncoder(config)
        self.to_text_latent = Linear(config.bert.hidden_size, config.dim_latent)
        self.to_visual_latent = Linear(self.image.dim, config.dim_latent)
        self.cross = CrossAttention(config.dim_latent, heads=config.heads) if config.cross_attention else None

    @property
    def outputs(self) -> Outputs:
        """Return the widths of tokens and latents, which are alike."""
        return Outputs(token_dim=self.config.dim_latent, latent_dim=self.config.dim_latent)

    @property
    def logit_scale(self) -> Tensor:
        """Return the scalar that multiplies cosine similarities."""
        return self.temperature.float().exp()

    @property
    def max_text_tokens(self) -> int:
        """Return the longest text that is read, in tokens."""
        return self.config.bert.max_tokens

    @property
    def codebook(self) -> None:
        """Return None: tokens are not quantized."""
        return None

    def token_grid(self, _: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the tokens along each axis of the one size that it takes."""
        z, x, y = self.image.grid
        return z, x, y

    def encode_volume(self, volume_B1ZHW: Tensor) -> VolumeEmbedding:
        """Encode single volumes (B, 1, Z, H, W); the unaugmented volume serves as both views."""
        tokens_BNL = self._fused(self._tokens(volume_B1ZHW))
        tokens_BTHWL = tokens_BNL.reshape(len(tokens_BNL), *self.image.grid, -1)
        return VolumeEmbedding(tokens=tokens_BTHWL, latent_BL=_unit(tokens_BNL.mean(dim=1)))

    def project_tokens(self, tokens_BTHWL: Tensor) -> Tensor:
        """Average tokens, which are in the latent space, to latents of unit norm (B, L)."""
        return _unit(tokens_BTHWL.flatten(1, 3).mean(dim=1))

    def encode_text(self, text: EncodedText) -> Tensor:
        """Encode texts as latents of unit norm (B, L). Columns that are padding in every row are not computed."""
        first_BD = first_token(self.text_transformer, text.input_ids_BN, text.attention_mask_BN)
        return _unit(self.to_text_latent(first_BD).to(first_BD.dtype))

    def encode_pair_latents(self, text: EncodedText, views_BVZHW: Tensor) -> tuple[Tensor, ...]:
        """Encode texts, volumes, and with two views each view alone, which `consistency_loss` compares: (B, L) each, unit norm."""
        text_BL = self.encode_text(text)
        tokens_BVNL = self._tokens(views_BVZHW)
        latents = text_BL, _unit(self._fused(tokens_BVNL).mean(dim=1))
        return latents if views_BVZHW.shape[1] == 1 else (*latents, *_unit(tokens_BVNL.mean(dim=2)).unbind(dim=1))

    def transformer_blocks(self) -> Iterator[nn.Module]:
        """Yield layers that may be recomputed, compiled, or gathered one at a time."""
        yield from self.image.blocks()
        yield from (module for module in self.text_transformer.modules() if isinstance(module, TransformerLayer))

    def text_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of the text encoder."""
        return self.text_transformer.parameters()

    def unused_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what reaches no loss: the text encoder's pooler, and a norm of MONAI's transformer layers that waits for other tokens."""
        yield from self.text_transformer.pooler.parameters()
        yield from (parameter for name, parameter in self.image.named_parameters() if ".norm_cross_attn." in name)

    def _tokens(self, views_BVZHW: Tensor) -> Tensor:
        """(B, V, N, L) of each view for itself."""
        encoded = self.image(views_BVZHW.flatten(0, 1)[:, None])
        tokens: Tensor = self.to_visual_latent(encoded).to(encoded.dtype)
        return tokens.reshape(*views_BVZHW.shape[:2], *tokens.shape[1:])

    def _fused(self, tokens_BVNL: Tensor) -> Tensor:
        """(B, N, L): where there is one view, it is the other one too."""
        if self.cross is None:
            return tokens_BVNL.mean(dim=1)
        one_BNL, other_BNL = tokens_BVNL[:, 0], tokens_BVNL[:, -1]
        fused_BNL = self.cross(one_BNL, other_BNL)
        return cast(Tensor, fused_BNL if tokens_BVNL.shape[1] == 1 else (fused_BNL + self.cross(other_BNL, one_BNL)) / 2)


class CrossAttention(nn.Module):
    """Attend from one view's tokens to the other's. Both directions share the weights: no view is the first."""

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.to_q, self.to_kv, self.to_out = Linear(dim, dim), Linear(dim, 2 * dim), Linear(dim, dim)

    def forward(self, own_BNL: Tensor, other_BNL: Tensor) -> Tensor:
        """Return (B, N, L), the size of both."""
        q, (k, v) = self.to_q(self.norm(own_BNL)), self.to_kv(self.norm(other_BNL)).chunk(2, dim=-1)
        q_BHNF, k_BHNF, v_BHNF = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        found_BNL = F.scaled_dot_product_attention(q_BHNF, k_BHNF, v_BHNF).transpose(1, 2).flatten(2)
        return own_BNL + cast(Tensor, self.to_out(found_BNL)).to(own_BNL.dtype)


def _unit(latent_BL: Tensor) -> Tensor:
    return F.normalize(latent_BL, dim=-1)

"""Encode volumes and texts into one latent space by CT-CLIP (Hamamci et al., arXiv:2403.17834).

Attribute names are the published state-dict keys.

Shapes: B batch, N tokens, L latent width; T, h, w, D as in `ctvit`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.models.common.linear import Linear
from thoracle.models.common.losses import contrastive_loss, pair_logits
from thoracle.models.ctclip.codebook import Codebook
from thoracle.models.ctclip.config import CTCLIPConfig
from thoracle.models.ctclip.ctvit import CTViT, VolumeTokens
from thoracle.models.ctclip.layers import CosineAttention, FeedForward
from thoracle.models.ctclip.patch_embedding import GridPool, SliceAttentionPool
from thoracle.models.encoder import EncodedText, Outputs, PatchEmbeddings, VolumeEmbedding
from thoracle.models.text.encoder import BertEncoder, TransformerLayer, first_token

#: Names that reach no loss; published files hold them.
UNUSED: Final = re.compile(r"to_patch_emb_first_frame|to_pixels|context_norm|null_kv|\.pooler\.")
_EXTRA: Final = re.compile(r"_extra\.")


class CTCLIP(nn.Module):
    """Combine an image encoder, a text encoder, and a linear map from each into the latent space."""

    def __init__(self, config: CTCLIPConfig) -> None:
        super().__init__()
        self.config = config
        text, image, latent = config.bert.hidden_size, config.dim_pooled, config.dim_latent
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.text_transformer = BertEncoder(config.bert)
        self.visual_transformer = CTViT(config.ctvit)
        self.slices = SliceAttentionPool(config.ctvit.dim, heads=config.ctvit.heads) if config.slice_pool == "attention" else None
        self.pool = GridPool(config.ctvit.dim, channels=config.pool_channels) if config.spatial_pool == "grid" else None
        self.to_text_latent = Linear(text, latent, bias=False)
        self.to_visual_latent = Linear(image, latent, bias=False)
        # Published files hold the second pair always; it starts as a copy and is used with CLOOB's loss only.
        self.to_text_latent_extra = nn.Linear(text, latent, bias=False)
        self.to_visual_latent_extra = nn.Linear(image, latent, bias=False)
        self.to_text_latent_extra.load_state_dict(self.to_text_latent.state_dict())
        self.to_visual_latent_extra.load_state_dict(self.to_visual_latent.state_dict())

    @property
    def outputs(self) -> Outputs:
        """Return the widths of tokens and latents."""
        return Outputs(token_dim=self.config.ctvit.dim, latent_dim=self.config.dim_latent)

    @property
    def logit_scale(self) -> Tensor:
        """Return the scalar that multiplies cosine similarities."""
        return self.temperature.float().exp()

    @property
    def max_text_tokens(self) -> int:
        """Return the longest text that is read, in tokens."""
        return self.config.bert.max_tokens

    @property
    def codebook(self) -> Codebook | None:
        """Return the codebook of the image encoder; None where tokens are not quantized."""
        return self.visual_transformer.codes

    def token_grid(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Count the tokens along each axis of an input of this size."""
        return self.visual_transformer.token_grid(size)

    def encode_volume(self, volume_B1ZHW: Tensor) -> VolumeEmbedding:
        """Encode volumes (B, 1, Z, H, W) in units of 1000 HU.

        Raises:
            InputError: a size the model was not made for.
        """
        encoded: VolumeTokens = self.visual_transformer(volume_B1ZHW)
        tokens_BTHWD = self.pooling_tokens(encoded)
        return VolumeEmbedding(
            tokens=tokens_BTHWD,
            latent_BL=self.project_tokens(tokens_BTHWD),
            codes=encoded.codes,
            codebook_indices=encoded.indices_BN,
        )

    def pooling_tokens(self, encoded: VolumeTokens) -> Tensor:
        """Return the tokens (B, T, h, w, D) that latents are read from: codes, or with a pool of the grid tokens before quantization."""
        return encoded.tokens_BTHWD if self.pool is None else encoded.pre_quantization_BND.view(encoded.tokens_BTHWD.shape)

    def project_tokens(self, tokens_BTHWD: Tensor) -> Tensor:
        """Project pooling tokens to latents of unit norm (B, L)."""
        return _project(self.to_visual_latent, self._pool_volume(tokens_BTHWD))

    def embed_patches(self, volume_B1ZHW: Tensor) -> PatchEmbeddings:
        """Embed each patch alone; raises InputError as `encode_volume`."""
        return self.visual_transformer.embed_patches(volume_B1ZHW)

    def encode_patches(self, patches: PatchEmbeddings) -> Tensor:
        """Compute the pooling tokens (B, T, h, w, D) of embedded patches."""
        return self.pooling_tokens(self.visual_transformer.encode(patches.patch_embeddings))

    def encode_text(self, text: EncodedText) -> Tensor:
        """Encode texts as latents of unit norm (B, L). Columns that are padding in every row are not computed."""
        return _project(self.to_text_latent, first_token(self.text_transformer, text.input_ids_BN, text.attention_mask_BN))

    def encode_pair_latents(self, text: EncodedText, volume_B1ZHW: Tensor) -> tuple[Tensor, ...]:
        """Encode pairs as latents (B, L) that `pair_logits` takes: text, image, and with CLOOB's projections both again."""
        text_BD = first_token(self.text_transformer, text.input_ids_BN, text.attention_mask_BN)
        image_BD = self._pool_volume(self.pooling_tokens(self.visual_transformer(volume_B1ZHW)))
        latents = _project(self.to_text_latent, text_BD), _project(self.to_visual_latent, image_BD)
        if not self.config.extra_latent_projection:
            return latents
        return (*latents, _project(self.to_text_latent_extra, text_BD), _project(self.to_visual_latent_extra, image_BD))

    def forward(self, input_ids_BN: Tensor, attention_mask_BN: Tensor, volume_B1ZHW: Tensor) -> Tensor:
        """Compute the contrastive loss of B texts and their B volumes, as the config says: a scalar."""
        text = EncodedText(input_ids_BN=input_ids_BN, attention_mask_BN=attention_mask_BN)
        logits = pair_logits(self.encode_pair_latents(text, volume_B1ZHW), self.temperature.exp())
        return contrastive_loss(*logits, decoupled=self.config.decoupled_loss)

    def transformer_blocks(self) -> Iterator[nn.Module]:
        """Yield layers that may be recomputed, compiled, or gathered one at a time."""
        return (module for module in self.modules() if isinstance(module, CosineAttention | FeedForward | TransformerLayer))

    def text_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of the text encoder."""
        return self.text_transformer.parameters()

    def unused_parameters(self) -> Iterator[nn.Parameter]:
        """Yield parameters that reach no loss: CLOOB's projections are among them where its loss is not used."""
        for name, parameter in self.named_parameters():
            extra = _EXTRA.search(name) is not None and not self.config.extra_latent_projection
            if extra or UNUSED.search(name) is not None:
                yield parameter

    def _pool_volume(self, tokens_BTHWD: Tensor) -> Tensor:
        mean_BHWD = tokens_BTHWD.mean(dim=1) if self.slices is None else cast(Tensor, self.slices(tokens_BTHWD))
        return mean_BHWD.flatten(1) if self.pool is None else cast(Tensor, self.pool(tokens_BTHWD, mean_BHWD))


def _project(to_latent: nn.Linear, pooled: Tensor) -> Tensor:
    return F.normalize(to_latent(pooled).to(pooled.dtype), dim=-1)

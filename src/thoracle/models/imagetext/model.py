"""Encode volumes by any encoder's image side, and texts by a BERT, into one space that both were trained into (LiT, Zhai et al.,
arXiv:2111.07991, where the image side is locked).

Shapes: B batch, L latent width; the axes of volumes and tokens are those of the image encoder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.models.common.linear import Linear
from thoracle.models.common.running_statistics import keep_statistics
from thoracle.models.encoder import EncodedText, GridEncoder, LatentEncoder, Outputs, PatchEmbeddings, PatchEncoder, VolumeEmbedding
from thoracle.models.imagetext.config import ImageTextConfig
from thoracle.models.text.encoder import BertEncoder, TransformerLayer, first_token

#: Of an encoder, what its image latents are not made of: another text side, labels, scales.
_BESIDE: Final = re.compile(r"^(trained_model\.)?(text_|to_text|temperature$|softmax_temperature$)|^classifier\.|_extra\.")


class ImageTextEncoder(nn.Module):
    """Combine an image encoder, a text encoder, and a linear map from each into the latent space.

    The encoder's own text side is carried and not used. What it learns by other means than gradients stays as it came: running
    statistics, so that a volume's latent does not depend on those beside it, and codes.
    """

    def __init__(self, config: ImageTextConfig, encoder: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        width = self._image.outputs.latent_dim
        assert width is not None, "the kind asks for latents"
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.text_transformer = BertEncoder(config.bert)
        self.to_text_latent = Linear(config.bert.hidden_size, config.dim_latent, bias=False)
        self.to_visual_latent = Linear(width, config.dim_latent, bias=False)
        for module in encoder.modules():
            if hasattr(module, "on_assignment"):
                cast(Any, module).on_assignment = lambda _, __: None

    def train(self, mode: bool = True) -> ImageTextEncoder:
        """Set the mode of all but what keeps running statistics."""
        super().train(mode)
        keep_statistics(self.encoder)
        return self

    @property
    def outputs(self) -> Outputs:
        """Return the widths of the encoder's tokens and of latents."""
        return Outputs(token_dim=self._image.outputs.token_dim, latent_dim=self.config.dim_latent)

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
        """Return None: no code moves."""
        return None

    def token_grid(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Count the tokens along each axis of an input of this size, where the encoder's lie on a grid."""
        return cast(GridEncoder, self.encoder).token_grid(size)

    def encode_volume(self, volume_B1: Tensor) -> VolumeEmbedding:
        """Encode volumes as the encoder does, with the latents of this space."""
        embedding = self._image.encode_volume(volume_B1)
        return VolumeEmbedding(tokens=embedding.tokens, latent_BL=self._project(cast(Tensor, embedding.latent_BL)))

    def project_tokens(self, tokens: Tensor) -> Tensor:
        """Project the encoder's tokens to latents of unit norm (B, L)."""
        return self._project(self._image.project_tokens(tokens))

    def embed_patches(self, volume_B1: Tensor) -> PatchEmbeddings:
        """Embed each patch alone, where the encoder does."""
        return cast(PatchEncoder, self.encoder).embed_patches(volume_B1)

    def encode_patches(self, patches: PatchEmbeddings) -> Tensor:
        """Compute the tokens of embedded patches, where the encoder does."""
        return cast(PatchEncoder, self.encoder).encode_patches(patches)

    def encode_text(self, text: EncodedText) -> Tensor:
        """Encode texts as latents of unit norm (B, L)."""
        first_BD = first_token(self.text_transformer, text.input_ids_BN, text.attention_mask_BN)
        return F.normalize(self.to_text_latent(first_BD).to(first_BD.dtype), dim=-1)

    def encode_pair_latents(self, text: EncodedText, volume_B1: Tensor) -> tuple[Tensor, ...]:
        """Encode pairs as latents of unit norm (B, L): text, image."""
        return self.encode_text(text), cast(Tensor, self.encode_volume(volume_B1).latent_BL)

    def transformer_blocks(self) -> Iterator[nn.Module]:
        """Yield the layers of the text encoder; those of the image encoder are its own affair."""
        return (module for module in self.text_transformer.modules() if isinstance(module, TransformerLayer))

    def text_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of the text encoder."""
        return self.text_transformer.parameters()

    def unused_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what reaches no loss: the encoder's own text side, labels and scale, and BERT's pooler."""
        yield from self.text_transformer.pooler.parameters()
        inner: Any = getattr(self.encoder, "trained_model", self.encoder)  # of a classifier, what it stands on
        unused = {id(parameter) for parameter in (inner.unused_parameters() if hasattr(inner, "unused_parameters") else ())}
        for name, parameter in self.encoder.named_parameters():
            if id(parameter) in unused or _BESIDE.search(name):
                yield parameter

    @property
    def _image(self) -> LatentEncoder:
        return cast(LatentEncoder, self.encoder)

    def _project(self, latent: Tensor) -> Tensor:
        return F.normalize(self.to_visual_latent(latent).to(latent.dtype), dim=-1)

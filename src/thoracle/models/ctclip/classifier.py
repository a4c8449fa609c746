"""Classify volumes by a head on CT-CLIP, in one state dict as LiPro was published.

Shapes: B batch, K labels; T, h, w, D as in `ctvit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, cast

from torch import Tensor, nn

from thoracle.models.ctclip.config import CTCLIPConfig
from thoracle.models.ctclip.heads import LabelAttention, LinearClassifier
from thoracle.models.ctclip.model import CTCLIP
from thoracle.models.encoder import EncodedText, Outputs, PatchEmbeddings, VolumeEmbedding
from thoracle.types import ABNORMALITIES

Head = LinearClassifier | LabelAttention
#: Before the names of CT-CLIP's weights; all others are the head's.
TRAINED_MODEL: Final = "trained_model."


class CTCLIPClassifier(nn.Module):
    """Encode by CT-CLIP and classify by the class's own head, whose weights have the published names."""

    trained_model: CTCLIP

    @property
    def outputs(self) -> Outputs:
        """Return the widths of tokens and latents."""
        return self.trained_model.outputs

    @property
    def logit_scale(self) -> Tensor:
        """Return CT-CLIP's."""
        return self.trained_model.logit_scale

    @property
    def max_text_tokens(self) -> int:
        """Return CT-CLIP's."""
        return self.trained_model.max_text_tokens

    def token_grid(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Count the tokens along each axis of an input of this size."""
        return self.trained_model.token_grid(size)

    def encode_volume(self, volume_B1ZHW: Tensor) -> VolumeEmbedding:
        """Encode as CT-CLIP, and classify; raises InputError as `CTCLIP.encode_volume`."""
        embedding = self.trained_model.encode_volume(volume_B1ZHW)
        return replace(embedding, logits_BK=self.classify_tokens(embedding.tokens))

    def classify_tokens(self, tokens_BTHWD: Tensor) -> Tensor:
        """Compute logits (B, K) from pooling tokens."""
        return classify_tokens(self.trained_model, cast(Head, self), tokens_BTHWD)

    def project_tokens(self, tokens_BTHWD: Tensor) -> Tensor:
        """Project pooling tokens to latents of unit norm (B, L)."""
        return self.trained_model.project_tokens(tokens_BTHWD)

    def embed_patches(self, volume_B1ZHW: Tensor) -> PatchEmbeddings:
        """Embed each patch alone."""
        return self.trained_model.embed_patches(volume_B1ZHW)

    def encode_patches(self, patches: PatchEmbeddings) -> Tensor:
        """Compute the pooling tokens of embedded patches."""
        return self.trained_model.encode_patches(patches)

    def encode_text(self, text: EncodedText) -> Tensor:
        """Encode texts as latents of unit norm (B, L)."""
        return self.trained_model.encode_text(text)


class LatentCTCLIPClassifier(LinearClassifier, CTCLIPClassifier):
    """Classify image latents (LiPro)."""

    def __init__(self, config: CTCLIPConfig, *, n_labels: int) -> None:
        super().__init__(config.dim_latent, n_labels=n_labels)
        self.trained_model = CTCLIP(config)


class TokenCTCLIPClassifier(LabelAttention, CTCLIPClassifier):
    """Classify by labels that look at tokens."""

    def __init__(self, config: CTCLIPConfig, *, n_labels: int) -> None:
        super().__init__(config, n_labels=n_labels)
        self.trained_model = CTCLIP(config)

    def attend_labels(self, tokens_BTHWD: Tensor) -> Tensor:
        """Compute how much each label looks at each token: (B, K, T, h, w)."""
        return self.attention(tokens_BTHWD.float())


def build_classifier(config: CTCLIPConfig) -> CTCLIPClassifier:
    """Build the classifier of the 18 abnormalities that a configuration describes, with random weights."""
    kind = TokenCTCLIPClassifier if config.head == "label-attention" else LatentCTCLIPClassifier
    return kind(config, n_labels=len(ABNORMALITIES))


def build_head(config: CTCLIPConfig, *, n_labels: int) -> Head:
    """Build the head alone with random weights."""
    if config.head == "label-attention":
        return LabelAttention(config, n_labels=n_labels)
    return LinearClassifier(config.dim_latent, n_labels=n_labels)


def classify_tokens(clip: CTCLIP, head: Head, tokens_BTHWD: Tensor) -> Tensor:
    """Compute logits (B, K) from what `CTCLIP.pooling_tokens` returns."""
    return cast(Tensor, head(tokens_BTHWD.float() if isinstance(head, LabelAttention) else clip.project_tokens(tokens_BTHWD)))


def encoder_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select CT-CLIP's weights from a classifier's, under CT-CLIP's own names."""
    return {name.removeprefix(TRAINED_MODEL): tensor for name, tensor in tensors.items() if name.startswith(TRAINED_MODEL)}


def head_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select the head's weights from a classifier's."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(TRAINED_MODEL)}


def join_state(clip: Mapping[str, Tensor], head: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join both: the inverse of `encoder_state` and `head_state`."""
    return {**{f"{TRAINED_MODEL}{name}": tensor for name, tensor in clip.items()}, **head}

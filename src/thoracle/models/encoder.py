"""Define what every encoder of volumes and texts offers, and what it returns.

Families implement these protocols without inheriting from them; consumers ask a model's capabilities, never its class.

Shapes: B batch, Z H W voxels, N text tokens, L latent width, K labels, C codes; the axes of volume tokens are those of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from torch import Tensor, nn

from thoracle.ct.chest.input_box import InputBox


class Capability(Enum):
    """Name an ability of a loaded model; the value completes "it does not have …"."""

    VOLUMES = "a volume encoder"
    LATENTS = "latents"
    #: `VolumeEmbedding.patch_latents`.
    PATCH_LATENTS = "latents of patches in the space of its texts"
    CODES = "codes"
    #: `VolumeEmbedding.tokens` of one grid, which the size of the input says (`GridEncoder`).
    TOKEN_GRID = "tokens on a regular grid"
    TEXT = "a text encoder"
    #: Text, a logit scale and prompts: findings in any words.
    ZERO_SHOT = "zero-shot detection"
    #: Logits of labels that it was trained on.
    LABELS = "labels of its own"
    #: A regular grid of tokens from which its findings are read (`PatchEncoder`).
    SALIENCY = "findings whose tokens can be looked at"
    LABEL_ATTENTION = "labels that look at tokens"
    #: Findings read place by place in the frame of the chest (`RegionEncoder`).
    REGIONS = "findings read by region"


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Hold the widths of what an encoder returns.

    Attributes:
        token_dim: of volume tokens.
        latent_dim: of latents; None where it has none.
    """

    token_dim: int
    latent_dim: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class VolumeEmbedding:
    """Hold everything that one pass over volumes gives; None where a model does not have it.

    Attributes:
        tokens: what latents and labels are read from; (B, T, h, w, D) on a regular grid.
        latent_BL: unit norm.
        patch_latents: tokens in the joint space of volumes and texts, of unit norm, on the grid of `tokens`.
        codes: rows of the codebook in the shape of `tokens`.
        codebook_indices: (B, T h w) int64, which rows.
        logits_BK: of the model's own labels; their sigmoid is a probability.
    """

    tokens: Tensor
    latent_BL: Tensor | None = None
    patch_latents: Tensor | None = None
    codes: Tensor | None = None
    codebook_indices: Tensor | None = None
    logits_BK: Tensor | None = None

    def rows(self) -> list[VolumeEmbedding]:
        """Split what is known of several volumes into what is known of each, a batch of one."""
        parts = {name: tensor.split(1) for name, tensor in vars(self).items() if tensor is not None}
        return [VolumeEmbedding(**{name: part[row] for name, part in parts.items()}) for row in range(len(self.tokens))]


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchEmbeddings:
    """Hold what is known of each patch alone, before attention.

    Attributes:
        patch_embeddings: (B, T, h, w, D).
        blocks: (B, n T / 2, n h / 2, n w / 2, D) eight neighbouring cells each, embedded as patches are; None where patches are no larger.
        cells: (B, n T, n h, n w, C) numbers of the n^3 parts of each patch, where the encoder describes such; None elsewhere.
    """

    patch_embeddings: Tensor
    blocks: Tensor | None = None
    cells: Tensor | None = None

    @property
    def finest(self) -> Tensor:
        """Return the finest grid that is embedded."""
        return self.patch_embeddings if self.blocks is None else self.blocks


@dataclass(frozen=True, kw_only=True, eq=False)
class RegionReading:
    """Hold findings that were read place by place.

    Attributes:
        logits_BK: of the strongest places.
        maps_BKTHW: evidence on a grid over the input, along its axes, at least 0, and 0 outside the frame of the chest; in no unit.
    """

    logits_BK: Tensor
    maps_BKTHW: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedText:
    """Hold token ids and their mask, int64 (B, N) each; the mask is 1 for tokens and 0 for padding."""

    input_ids_BN: Tensor
    attention_mask_BN: Tensor


class VolumeEncoder(Protocol):
    """Encode preprocessed volumes."""

    @property
    def outputs(self) -> Outputs: ...  # noqa: D102

    def encode_volume(self, volume_B1ZHW: Tensor, /) -> VolumeEmbedding:
        """Encode volumes (B, 1, Z, H, W), along the axes and in the units of the model's preprocessing. A model that reads tiles cuts and
        joins them itself.
        """


class LatentEncoder(VolumeEncoder, Protocol):
    """Encode volumes as latents (`Capability.LATENTS`)."""

    def project_tokens(self, tokens: Tensor, /) -> Tensor:
        """Project `VolumeEmbedding.tokens` to latents of unit norm (B, L), differentiably."""


class TextEncoder(Protocol):
    """Encode texts. Nothing is assumed of its network."""

    @property
    def max_text_tokens(self) -> int: ...  # noqa: D102

    def encode_text(self, text: EncodedText, /) -> Tensor:
        """Encode texts as latents of unit norm (B, L)."""


class VolumeTextEncoder(LatentEncoder, TextEncoder, Protocol):
    """Encode volumes and texts into one space."""

    @property
    def logit_scale(self) -> Tensor | None:
        """Return the scalar that multiplies cosine similarities; None where the published code has none, and so no zero-shot
        probability.
        """


class GridEncoder(VolumeEncoder, Protocol):
    """Encode volumes as tokens on a regular grid (`Capability.TOKEN_GRID`)."""

    def token_grid(self, size: tuple[int, int, int], /) -> tuple[int, int, int]:
        """Count the tokens along each axis of an input of so many voxels."""


class PatchEncoder(LatentEncoder, Protocol):
    """Encode volumes patch by patch on a regular grid (`Capability.SALIENCY`)."""

    def embed_patches(self, volume_B1ZHW: Tensor, /) -> PatchEmbeddings:
        """Embed each patch alone."""

    def encode_patches(self, patches: PatchEmbeddings, /) -> Tensor:
        """Compute the tokens of embedded patches, as `VolumeEmbedding.tokens` holds them."""


class LabelEncoder(VolumeEncoder, Protocol):
    """Classify volumes by labels of its own (`Capability.LABELS`)."""

    def classify_tokens(self, tokens: Tensor, /) -> Tensor:
        """Compute logits (B, K) from `VolumeEmbedding.tokens`, differentiably."""


class AttentiveLabelEncoder(LabelEncoder, Protocol):
    """Classify volumes by labels that look at tokens (`Capability.LABEL_ATTENTION`)."""

    def attend_labels(self, tokens: Tensor, /) -> Tensor:
        """Compute how much each label looks at each token: (B, K, T, h, w), summing to 1 over tokens."""


class RegionEncoder(VolumeEncoder, Protocol):
    """Read findings place by place (`Capability.REGIONS`)."""

    def read_regions(self, volume_B1ZHW: Tensor, boxes: Sequence[InputBox], /) -> RegionReading:
        """Read volumes whose chests lie in `boxes`."""


class MovingCodebook(Protocol):
    """Learn codes by a moving average, not by gradient.

    Attributes:
        on_assignment: takes a training batch's counts (C) and sums (C, D), which otherwise move the codes at once.
    """

    on_assignment: Callable[[Tensor, Tensor], None] | None

    def update_ema(self, counts_C: Tensor, sums_CD: Tensor) -> None: ...  # noqa: D102
    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...  # noqa: D102


class TrainableEncoder(VolumeTextEncoder, Protocol):
    """Train on pairs of volumes and texts. Implementations are `nn.Module`s.

    Attributes:
        config: of its kind, as the registry's spec reads it.
        temperature: natural logarithm of the logit scale.
    """

    config: Any
    temperature: nn.Parameter

    @property
    def codebook(self) -> MovingCodebook | None: ...  # noqa: D102

    def encode_pair_latents(self, text: EncodedText, volumes: Tensor, /) -> tuple[Tensor, ...]:
        """Encode pairs as latents of unit norm (B, L): text, volume, and what the family's loss compares beside them."""

    def transformer_blocks(self) -> Iterator[nn.Module]:
        """Yield layers that may be recomputed, compiled, or gathered one at a time."""

    def text_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the text encoder's parameters, which may have a learning rate of their own."""

    def unused_parameters(self) -> Iterator[nn.Parameter]:
        """Yield parameters that reach no loss and are carried because published files hold them."""

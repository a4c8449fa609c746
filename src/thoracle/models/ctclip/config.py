"""Configure CT-CLIP and its image encoder, and name the published sizes.

Key names follow the published configuration (`ctvit`, `bert`, `dim_latent`), so that its JSON reads as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from thoracle.config_reader import PositiveInt, check_fields, config_from_mapping
from thoracle.errors import InputError
from thoracle.models.text.config import TextConfig


@dataclass(frozen=True, kw_only=True)
class CTViTConfig:
    """Configure the image encoder; defaults are CT-CLIP's (Hamamci et al., arXiv:2403.17834).

    Attributes:
        dim: width of tokens.
        codebook_size: codes that tokens are quantized to.
        quantize: replace each token by the nearest code, as published; false leaves the codebook out, and latents are read from tokens.
        image_size: voxels of a slice along each axis.
        patch_size: voxels of a patch along each axis in plane.
        temporal_patch_size: slices of a patch.
        spatial_depth: layers that attend in plane.
        temporal_depth: layers that attend along slices.
        dim_head: width of an attention head.
        heads: attention heads.
        hu_windows: lower and upper ends, in units of the input (1000 HU), through which parts of patches are described
            (`WindowedPatchEmbedding`). Published is none: one linear map of each patch, behind a LayerNorm.
        subpatches: with windows, parts of a patch along each axis.
        dim_cell: with windows, width of a part's description.
    """

    dim: PositiveInt = 512
    codebook_size: PositiveInt = 8192
    quantize: bool = True
    image_size: PositiveInt = 480
    patch_size: PositiveInt = 20
    temporal_patch_size: PositiveInt = 10
    spatial_depth: PositiveInt = 4
    temporal_depth: PositiveInt = 4
    dim_head: PositiveInt = 32
    heads: PositiveInt = 8
    hu_windows: tuple[tuple[float, float], ...] = ()
    subpatches: PositiveInt = 2
    dim_cell: PositiveInt = 48

    def __post_init__(self) -> None:
        check_fields(self)
        if self.hu_windows and (self.patch_size % self.subpatches or self.temporal_patch_size % self.subpatches):
            raise InputError(
                f"subpatches {self.subpatches} does not divide patches of {self.temporal_patch_size} x {self.patch_size}",
                hint="Give sizes that divide.",
                source="ctvit",
            )
        if any(low >= high for low, high in self.hu_windows):
            raise InputError(f"hu_windows must rise, are {self.hu_windows}", hint="Correct them.", source="ctvit")
        if self.image_size % self.patch_size:
            raise InputError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}",
                hint="Give sizes that divide.",
                source="ctvit",
            )

    @property
    def image_encoder(self) -> CTViTConfig:
        """Return the image encoder's configuration, as `CTCLIPConfig.image_encoder` does."""
        return self

    @property
    def reads_codes(self) -> bool:
        """Return whether tokens are rows of the codebook, as in `CTCLIPConfig.reads_codes`."""
        return self.quantize

    @property
    def grid(self) -> int:
        """Return the patches along each in-plane axis."""
        return self.image_size // self.patch_size

    @property
    def dim_image(self) -> int:
        """Return the width of the flattened tokens of one time step: what the image projection takes."""
        return self.grid * self.grid * self.dim


@dataclass(frozen=True, kw_only=True)
class CTCLIPConfig:
    """Configure CT-CLIP: image and text encoder, one latent space (Hamamci et al., arXiv:2403.17834).

    Attributes:
        ctvit: image encoder.
        bert: text encoder; its dropout is that of CXR-BERT's config.json, which the published one was trained with.
        dim_latent: width of latents.
        n_frames: slices of the volumes that the model takes; a multiple of ctvit.temporal_patch_size.
        decoupled_loss: decoupled contrastive learning: the positive pair leaves the denominators (Yeh et al., arXiv:2110.06848).
        extra_latent_projection: CLOOB's second pair of projections, one per direction (Fürst et al., arXiv:2110.11316).
        spatial_pool: input of the image projection: "mean" of the codes along slices, flattened, as published; "grid" (`GridPool`) of the
            tokens before the codebook, whose few codes would leave little of a small model.
        pool_channels: with "grid", channels that every token gives.
        slice_pool: weights of slices in the mean along them: equal, "mean", as published, or learned by "attention" (`SliceAttentionPool`).
        head: classifier on the model: "linear" on the latent (LiPro), as published, or "label-attention" over tokens (`LabelAttention`).
        label_self_attention: with "label-attention", labels attend to each other once they have seen tokens.
    """

    ctvit: CTViTConfig = field(default_factory=CTViTConfig)
    bert: TextConfig = field(default_factory=lambda: TextConfig(hidden_dropout_prob=0.25, attention_probs_dropout_prob=0.25))
    dim_latent: PositiveInt = 512
    n_frames: PositiveInt = 240
    decoupled_loss: bool = False
    extra_latent_projection: bool = False
    spatial_pool: Literal["mean", "grid"] = "mean"
    pool_channels: PositiveInt = 8
    slice_pool: Literal["mean", "attention"] = "mean"
    head: Literal["linear", "label-attention"] = "linear"
    label_self_attention: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if ("attention" in self.slice_pool or "attention" in self.head) and self.ctvit.dim % self.ctvit.heads:
            raise InputError(
                f"ctvit.dim {self.ctvit.dim} is not a multiple of ctvit.heads {self.ctvit.heads}",
                hint="Give sizes that divide.",
                source="config",
            )
        if self.n_frames % self.ctvit.temporal_patch_size:
            raise InputError(
                f"n_frames {self.n_frames} is not a multiple of ctvit.temporal_patch_size {self.ctvit.temporal_patch_size}",
                hint="Give sizes that divide.",
                source="config",
            )

    @property
    def image_encoder(self) -> CTViTConfig:
        """Return the image encoder's configuration."""
        return self.ctvit

    @property
    def reads_codes(self) -> bool:
        """Return whether latents are read from rows of the codebook, not from tokens before quantization."""
        return self.spatial_pool == "mean" and self.ctvit.quantize

    @property
    def steps(self) -> int:
        """Return the tokens along slices."""
        return self.n_frames // self.ctvit.temporal_patch_size

    @property
    def dim_pooled(self) -> int:
        """Return the width of what the image projection takes."""
        if self.spatial_pool == "mean":
            return self.ctvit.dim_image
        return self.steps * self.ctvit.grid**2 * self.pool_channels + 2 * self.ctvit.dim


def published_ctclip_config(values: Mapping[str, Any]) -> CTCLIPConfig:
    """Read CT-CLIP's published JSON, whose `dim_image` is derived and only checked.

    Raises:
        InputError: as `config_from_mapping`, or a `dim_image` that contradicts the other sizes.
    """
    settings = dict(values)
    dim_image = settings.pop("dim_image", None)
    config = config_from_mapping(CTCLIPConfig, settings)
    if dim_image is not None and dim_image != config.ctvit.dim_image:
        raise InputError(
            f"dim_image is {dim_image}, but image and patch size give {config.ctvit.dim_image}",
            hint="Correct image_size, patch_size, dim or dim_image.",
            source="config",
        )
    return config


#: The published model: 438 M parameters.
PRESETS: dict[str, CTCLIPConfig] = {
    "ct-clip": CTCLIPConfig(),
    "tiny": CTCLIPConfig(
        ctvit=CTViTConfig(
            dim=64, codebook_size=256, image_size=120, patch_size=20, spatial_depth=1, temporal_depth=1, dim_head=16, heads=4
        ),
        bert=TextConfig(vocab_size=512, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128),
        dim_latent=64,
        n_frames=60,
    ),
}

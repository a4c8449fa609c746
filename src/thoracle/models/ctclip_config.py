"""Configure CT-CLIP and its image encoder, and name the published sizes.

Key names follow the published configuration (`ctvit`, `bert`, `dim_latent`), so that its JSON reads as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from thoracle.errors import InputError
from thoracle.models.config import build, check_positive
from thoracle.models.text_config import TextConfig


@dataclass(frozen=True, kw_only=True)
class CTViTConfig:
    """The image encoder: defaults are CT-CLIP's (Hamamci et al., arXiv:2403.17834).

    Attributes:
        windows: lower and upper ends, in units of the input, through which parts of patches are described (`CellEmbedding`). None is
            published: one linear map of each patch, behind a LayerNorm.
        cells: with windows, parts of a patch along each axis.
        dim_cell: with windows, width of a part's description.
    """

    dim: int = 512
    codebook_size: int = 8192
    image_size: int = 480
    patch_size: int = 20
    temporal_patch_size: int = 10
    spatial_depth: int = 4
    temporal_depth: int = 4
    dim_head: int = 32
    heads: int = 8
    windows: tuple[tuple[float, float], ...] = ()
    cells: int = 2
    dim_cell: int = 48

    def __post_init__(self) -> None:
        check_positive(self)
        if self.windows and (self.patch_size % self.cells or self.temporal_patch_size % self.cells):
            raise InputError(
                f"ctvit.cells {self.cells} does not divide patches of {self.temporal_patch_size} x {self.patch_size}",
                cure="Give sizes that divide.",
                source="config",
            )
        if any(low >= high for low, high in self.windows):
            raise InputError(f"ctvit.windows must rise, are {self.windows}", cure="Correct them.", source="config")
        if self.image_size % self.patch_size:
            raise InputError(
                f"ctvit.image_size {self.image_size} is not a multiple of ctvit.patch_size {self.patch_size}",
                cure="Give sizes that divide.",
                source="config",
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CTViTConfig:
        """From plain types; raises InputError as `build`."""
        ends = values.get("windows", ())
        if not isinstance(ends, list | tuple) or not all(map(_pair, ends)):
            raise InputError(f"windows must be pairs of numbers, are {ends!r}"[:200], cure="Correct them.", source="ctvit")
        return build(cls, {**values, "windows": tuple((float(low), float(high)) for low, high in ends)}, "ctvit")

    @property
    def image_encoder(self) -> CTViTConfig:
        """Return the image encoder's configuration, as `CTCLIPConfig.image_encoder` does."""
        return self

    @property
    def reads_codes(self) -> bool:
        """Return True: tokens are rows of the codebook, as in `CTCLIPConfig.reads_codes`."""
        return True

    @property
    def grid(self) -> int:
        """Patches along each in-plane axis."""
        return self.image_size // self.patch_size

    @property
    def dim_image(self) -> int:
        """Width of the flattened tokens of one time step: what the image projection takes."""
        return self.grid * self.grid * self.dim


@dataclass(frozen=True, kw_only=True)
class CTCLIPConfig:
    """CT-CLIP: image and text encoder, one latent space."""

    ctvit: CTViTConfig = field(default_factory=CTViTConfig)
    bert: TextConfig = field(default_factory=TextConfig)
    dim_latent: int = 512
    #: Slices of the volumes the model was made for; a multiple of the temporal patch.
    n_frames: int = 240
    #: Decoupled contrastive learning: the positive pair leaves the denominators (Yeh et al., arXiv:2110.06848).
    decoupled_loss: bool = False
    #: CLOOB's second pair of projections, one per direction (Fürst et al., arXiv:2110.11316).
    extra_latent_projection: bool = False
    #: What the image projection is given: "mean" of the codes along slices, flattened, as published; "grid" (`GridPool`) of the tokens
    #: as they were before the codebook, in which few codes would leave little of a small model.
    pool: Literal["mean", "grid"] = "mean"
    #: With "grid": channels that every token gives.
    pool_channels: int = 8
    #: How the pool's mean along slices weighs them: all alike, "mean", as published, or by "attention" that is learned (`SliceAttention`).
    slices: Literal["mean", "attention"] = "mean"
    #: What a classifier on it is: of the "latent" (LiPro), as published, or "label-attention" over tokens (`LabelAttention`).
    head: Literal["latent", "label-attention"] = "latent"

    def __post_init__(self) -> None:
        if self.pool not in ("mean", "grid") or self.pool_channels < 1:
            raise InputError(
                f"pool must be mean or grid, is {self.pool!r}, and pool_channels positive", cure="Correct it.", source="config"
            )
        if self.slices not in ("mean", "attention") or self.head not in ("latent", "label-attention"):
            raise InputError(
                f"slices must be mean or attention, is {self.slices!r}, and head latent or label-attention, is {self.head!r}",
                cure="Correct it.",
                source="config",
            )
        if ("attention" in self.slices or "attention" in self.head) and self.ctvit.dim % self.ctvit.heads:
            raise InputError(
                f"ctvit.dim {self.ctvit.dim} is not a multiple of ctvit.heads {self.ctvit.heads}",
                cure="Give sizes that divide.",
                source="config",
            )
        if self.dim_latent < 1 or self.n_frames < 1 or self.n_frames % self.ctvit.temporal_patch_size:
            raise InputError(
                f"n_frames {self.n_frames} must be a multiple of ctvit.temporal_patch_size {self.ctvit.temporal_patch_size},"
                f" and dim_latent {self.dim_latent} positive",
                cure="Give sizes that divide.",
                source="config",
            )

    @property
    def image_encoder(self) -> CTViTConfig:
        """Return the image encoder's configuration."""
        return self.ctvit

    @property
    def reads_codes(self) -> bool:
        """Return whether latents are read from rows of the codebook, not from tokens before quantization."""
        return self.pool == "mean"

    @property
    def steps(self) -> int:
        """Tokens along slices."""
        return self.n_frames // self.ctvit.temporal_patch_size

    @property
    def dim_pooled(self) -> int:
        """Width of what the image projection takes."""
        if self.pool == "mean":
            return self.ctvit.dim_image
        return self.steps * self.ctvit.grid**2 * self.pool_channels + 2 * self.ctvit.dim

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types; `from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CTCLIPConfig:
        """From the published JSON or our own. `dim_image` is derived and only checked.

        Raises:
            InputError: an unknown key, or a size that contradicts another.
        """
        rest = dict(values)
        dim_image = rest.pop("dim_image", None)
        config = build(
            cls,
            {**rest, "ctvit": CTViTConfig.from_dict(rest.get("ctvit", {})), "bert": build(TextConfig, rest.get("bert", {}), "bert")},
            "config",
        )
        if dim_image is not None and dim_image != config.ctvit.dim_image:
            raise InputError(
                f"dim_image is {dim_image}, but image and patch size give {config.ctvit.dim_image}",
                cure="Correct image_size, patch_size, dim or dim_image.",
                source="config",
            )
        return config


def _pair(ends: object) -> bool:
    return isinstance(ends, list | tuple) and len(ends) == 2 and all(type(end) in (int, float) for end in ends)


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

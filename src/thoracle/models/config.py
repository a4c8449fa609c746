"""Sizes and options of the networks, and the published preset; frozen, checked where they are made.

Key names follow the published configuration (`ctvit`, `bert`, `dim_latent`), so that its JSON reads as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar

from thoracle.errors import InputError

_Config = TypeVar("_Config")


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
        _positive(self)
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
    def grid(self) -> int:
        """Patches along each in-plane axis."""
        return self.image_size // self.patch_size

    @property
    def dim_image(self) -> int:
        """Width of the flattened tokens of one time step: what the image projection takes."""
        return self.grid * self.grid * self.dim


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """A BERT-shaped text encoder; names and defaults are those of `transformers.BertConfig`, dropout included."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    pad_token_id: int = 0
    #: "bert" counts positions from 0; "roberta" from pad_token_id + 1 over tokens that are not padding.
    positions: Literal["bert", "roberta"] = "bert"
    #: What a report classifier reads of the first token: its state through BERT's pooler, as published, or the state, as CT-CLIP does.
    first_token: Literal["pooled", "hidden"] = "pooled"

    def __post_init__(self) -> None:
        _positive(self, allow_zero=("pad_token_id", "hidden_dropout_prob", "attention_probs_dropout_prob"))
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"bert.hidden_size {self.hidden_size} is not a multiple of bert.num_attention_heads {self.num_attention_heads}",
                cure="Give sizes that divide.",
                source="config",
            )
        if self.first_token not in ("pooled", "hidden"):
            raise InputError(f"first_token must be pooled or hidden, is {self.first_token!r}", cure="Correct it.", source="config")

    @property
    def most_tokens(self) -> int:
        """Of one text: RoBERTa's positions begin behind padding's."""
        return self.max_position_embeddings - (self.pad_token_id + 1 if self.positions == "roberta" else 0)


@dataclass(frozen=True, kw_only=True)
class ProjectorConfig:
    """CT-CHAT's attentional pooler and the two layers behind it; `heads` is the only size its file does not hold.

    Attributes:
        places: tokens of a scan, each of which is told where it is by an embedding of its own; 0 for none, as published.
        findings: abnormalities that have a row of their own (`FindingRows`), which needs places; 0 for none, as published.
    """

    queries: int = 256
    dim: int = 512
    dim_context: int = 512
    #: Width of all heads together.
    inner: int = 512
    heads: int = 8
    #: Width of the language model's embeddings.
    hidden: int = 4096
    places: int = 0
    findings: int = 0

    def __post_init__(self) -> None:
        _positive(self, allow_zero=("places", "findings"))
        if self.findings and not self.places:
            raise InputError("projector.findings needs projector.places", cure="Give how many tokens a scan has.", source="config")
        if self.inner % self.heads:
            raise InputError(
                f"projector.inner {self.inner} is not a multiple of projector.heads {self.heads}",
                cure="Give sizes that divide.",
                source="config",
            )

    @property
    def rows(self) -> int:
        """That stand for a scan."""
        return self.findings + self.queries


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


def build(kind: type[_Config], values: Mapping[str, Any], source: str) -> _Config:
    """A config of `kind` from a mapping; an unknown key is an error that names the known ones."""
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(
            f"unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}", cure="Remove or correct them.", source=source
        )
    for f in fields(kind):  # type: ignore[arg-type]
        _typed(f.name, values.get(f.name, f.default), f.default, source)
    return kind(**values)


def _typed(name: str, value: object, default: object, source: str) -> None:
    """A value from JSON is of its default's type; 1 for 1.0 is fine, true for 1 and "1" are not."""
    allowed = (int, float) if isinstance(default, float) else type(default)
    if isinstance(default, (int, float, str)) and (not isinstance(value, allowed) or isinstance(value, bool) != isinstance(default, bool)):
        raise InputError(f"{name} must be of type {type(default).__name__}, is {value!r}"[:200], cure="Correct it.", source=source)


def _pair(ends: object) -> bool:
    return isinstance(ends, list | tuple) and len(ends) == 2 and all(type(end) in (int, float) for end in ends)


def _positive(config: object, *, allow_zero: tuple[str, ...] = ()) -> None:
    for f in fields(config):  # type: ignore[arg-type]
        value = getattr(config, f.name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and (value < 0 or (value == 0 and f.name not in allow_zero)):
            raise InputError(f"{f.name} must be positive, is {value}", cure="Correct the configuration.", source="config")


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

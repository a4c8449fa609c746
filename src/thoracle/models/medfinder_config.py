"""Sizes of MedFinder, frozen and checked where they are made; knows no module.

The defaults are the published ones (Chen et al., arXiv:2403.15992, and its code).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from thoracle.errors import InputError
from thoracle.models.config import build
from thoracle.models.text_config import TextConfig

_CURE = "Correct the configuration."


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """A 3D ResNet (He et al., arXiv:1512.03385): by default ResNet-50.

    Attributes:
        blocks: residual blocks of each of the four stages.
        widths: channels of each stage; with bottlenecks a stage gives four times as many.
        bottleneck: blocks of three convolutions, else of two.
        stride: of the first convolution; the pooling after it and each stage but the first halve once more.
    """

    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    bottleneck: bool = True
    stride: int = 1

    def __post_init__(self) -> None:
        stages = (*self.blocks, *self.widths)
        if len(self.blocks) != 4 or len(self.widths) != 4 or min(*stages, self.stride) < 1:
            raise InputError("resnet.blocks and widths must be four positive numbers each, stride positive", cure=_CURE, source="config")

    @property
    def dim(self) -> int:
        """Channels of its last stage."""
        return self.widths[-1] * (4 if self.bottleneck else 1)


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """A vision transformer (Dosovitskiy et al., arXiv:2010.11929): by default ViT-B with patches of 16 voxels along each axis."""

    patch_size: int = 16
    dim: int = 768
    depth: int = 12
    heads: int = 12
    mlp: int = 3072

    def __post_init__(self) -> None:
        if min(self.patch_size, self.dim, self.depth, self.heads, self.mlp) < 1 or self.dim % self.heads:
            raise InputError("vit's sizes must be positive, and heads divide dim", cure=_CURE, source="config")


@dataclass(frozen=True, kw_only=True)
class MedFinderConfig:
    """MedFinder: an image encoder, a text encoder, one latent space.

    Attributes:
        size: voxels (z, x, y) of the volumes it is made for.
        resnet, vit: the image encoder, one of the two.
        bert: the text encoder.
        dim_latent: of latents, and of tokens in cross-attention.
        cross_attention: whether the tokens of either view look at the other's.
        heads: of cross-attention.
    """

    size: tuple[int, int, int] = (96, 224, 224)
    resnet: ResNetConfig | None = None
    vit: ViTConfig | None = None
    bert: TextConfig = field(default_factory=TextConfig)
    dim_latent: int = 512
    cross_attention: bool = True
    heads: int = 8

    def __post_init__(self) -> None:
        if (self.resnet is None) == (self.vit is None):
            raise InputError(
                "the image encoder must be one of resnet and vit", cure="Name one: `resnet: {}` is ResNet-50.", source="config"
            )
        if len(self.size) != 3 or min(*self.size, self.dim_latent, self.heads) < 1 or self.dim_latent % self.heads:
            raise InputError("size must be three positive numbers, and heads divide dim_latent", cure=_CURE, source="config")
        if self.vit is not None and any(side % self.vit.patch_size for side in self.size):
            raise InputError(f"vit.patch_size {self.vit.patch_size} does not divide {self.size}", cure=_CURE, source="config")

    def as_dict(self) -> dict[str, Any]:
        """Plain types; `from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MedFinderConfig:
        """From plain types; raises InputError as `build`."""
        read = {**values, "bert": build(TextConfig, _settings(values, "bert"), "bert")}
        if values.get("resnet") is not None:
            stages = {name: _numbers(value, name) for name, value in _settings(values, "resnet").items() if name in ("blocks", "widths")}
            read["resnet"] = build(ResNetConfig, {**_settings(values, "resnet"), **stages}, "resnet")
        if values.get("vit") is not None:
            read["vit"] = build(ViTConfig, _settings(values, "vit"), "vit")
        if "size" in values:
            read["size"] = _numbers(values["size"], "size")
        return build(cls, read, "model")


def _settings(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name, {})
    if not isinstance(found, Mapping):
        raise InputError(f"{name} must hold settings, is {found!r}"[:200], cure=_CURE, source="config")
    return found


def _numbers(value: object, name: str) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or any(type(number) is not int for number in value):
        raise InputError(f"{name} must be whole numbers, is {value!r}"[:200], cure=_CURE, source="config")
    return tuple(value)

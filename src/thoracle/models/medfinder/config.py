"""Configure MedFinder.

The defaults are the published ones (Chen et al., arXiv:2403.15992, and its code).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from thoracle.config_reader import PositiveInt, check_fields
from thoracle.errors import InputError
from thoracle.models.text.config import TextConfig

_HINT = "Correct the configuration."


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Configure a 3D ResNet (He et al., arXiv:1512.03385): by default ResNet-50.

    Attributes:
        blocks: residual blocks of each of the four stages.
        widths: channels of each stage; with bottlenecks a stage gives four times as many.
        bottleneck: blocks of three convolutions, else of two.
        stride: stride of the first convolution; the pooling after it and each stage but the first halve once more.
    """

    blocks: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (3, 4, 6, 3)
    widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (64, 128, 256, 512)
    bottleneck: bool = True
    stride: PositiveInt = 1

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def dim(self) -> int:
        """Return the channels of its last stage."""
        return self.widths[-1] * (4 if self.bottleneck else 1)


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """Configure a vision transformer (Dosovitskiy et al., arXiv:2010.11929): by default ViT-B with patches of 16 voxels along each axis.

    Attributes:
        patch_size: voxels of a patch along each axis.
        dim: width of tokens.
        depth: layers.
        heads: attention heads; they divide dim.
        mlp: width inside a layer's MLP.
    """

    patch_size: PositiveInt = 16
    dim: PositiveInt = 768
    depth: PositiveInt = 12
    heads: PositiveInt = 12
    mlp: PositiveInt = 3072

    def __post_init__(self) -> None:
        check_fields(self)
        if self.dim % self.heads:
            raise InputError(f"heads {self.heads} does not divide dim {self.dim}", hint=_HINT, source="vit")


@dataclass(frozen=True, kw_only=True)
class MedFinderConfig:
    """Configure MedFinder: an image encoder, a text encoder, one latent space (Chen et al., arXiv:2403.15992).

    Attributes:
        size: voxels (z, x, y) of the volumes it takes.
        resnet: image encoder, unless `vit` is.
        vit: image encoder, unless `resnet` is.
        bert: text encoder.
        dim_latent: width of latents, and of tokens in cross-attention.
        cross_attention: whether the tokens of either view attend to the other's.
        heads: attention heads of cross-attention; they divide dim_latent.
    """

    size: tuple[PositiveInt, PositiveInt, PositiveInt] = (96, 224, 224)
    resnet: ResNetConfig | None = None
    vit: ViTConfig | None = None
    bert: TextConfig = field(default_factory=TextConfig)
    dim_latent: PositiveInt = 512
    cross_attention: bool = True
    heads: PositiveInt = 8

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.resnet is None) == (self.vit is None):
            raise InputError(
                "the image encoder must be one of resnet and vit", hint="Name one: `resnet: {}` is ResNet-50.", source="config"
            )
        if self.dim_latent % self.heads:
            raise InputError(f"heads {self.heads} does not divide dim_latent {self.dim_latent}", hint=_HINT, source="config")
        if self.vit is not None and any(side % self.vit.patch_size for side in self.size):
            raise InputError(f"vit.patch_size {self.vit.patch_size} does not divide {self.size}", hint=_HINT, source="config")

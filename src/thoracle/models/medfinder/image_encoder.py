"""MedFinder's image encoder: a 3D ResNet or ViT of MONAI that gives tokens.

Norms of the ResNet are over groups of channels, not over the batch: what a volume gives does not depend on what it is encoded with, so
that training, gradient caching, ranks and inference agree (docs/decisions/0032-medfinder-encoder.md).

Shapes: B volumes, (Z, H, W) voxels, N tokens, C their width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast

from torch import Tensor, nn

from thoracle.errors import ExtraMissing
from thoracle.models.medfinder.config import MedFinderConfig, ResNetConfig, ViTConfig

#: Channels that a norm takes together (Wu and He, arXiv:1803.08494).
_TOGETHER: Final = 16
_EXTRA: Final = "Install it with `pip install 'thoracle[medfinder]'`."


class ImageEncoder(nn.Module):
    """Encode volumes as tokens.

    Attributes:
        dim: C.
        grid: tokens along (z, x, y); their product is N.
    """

    def __init__(self, config: MedFinderConfig) -> None:
        super().__init__()
        if config.resnet is not None:
            self.net, self.dim = _resnet(config.resnet), config.resnet.dim
            self.grid = tuple(_after_strides(side, config.resnet.stride) for side in config.size)
        else:
            assert config.vit is not None, "one of the two"
            self.net, self.dim = _vit(config.vit, config.size), config.vit.dim
            self.grid = tuple(side // config.vit.patch_size for side in config.size)

    def forward(self, volume_B1ZHW: Tensor) -> Tensor:
        """Return tokens (B, N, C) in the order of the grid."""
        features = self.net(volume_B1ZHW)
        if isinstance(features, tuple):  # ViT: tokens, and those after each layer
            return cast(Tensor, features[0])
        return cast(Tensor, features.unflatten(1, (self.dim, -1)).transpose(1, 2))

    def blocks(self) -> Iterator[nn.Module]:
        """Return the residual blocks, or the transformer's layers."""
        stages: Any = [getattr(self.net, f"layer{stage}") for stage in range(1, 5)] if hasattr(self.net, "layer1") else [self.net.blocks]
        for stage in stages:
            yield from stage


def _resnet(config: ResNetConfig) -> nn.Module:
    nets = _monai()
    net: nn.Module = nets.ResNet(
        "bottleneck" if config.bottleneck else "basic",
        list(config.blocks),
        list(config.widths),
        n_input_channels=1,
        conv1_t_stride=config.stride,
        feed_forward=False,
    )
    net.avgpool = nn.Identity()  # its forward pass then only flattens
    _norms_of_groups(net)
    return net


def _vit(config: ViTConfig, size: tuple[int, int, int]) -> nn.Module:
    net: nn.Module = _monai().ViT(
        in_channels=1,
        img_size=size,
        patch_size=config.patch_size,
        hidden_size=config.dim,
        mlp_dim=config.mlp,
        num_layers=config.depth,
        num_heads=config.heads,
    )
    return net


def _norms_of_groups(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm3d):
            channels = child.num_features
            groups = channels // _TOGETHER if channels % _TOGETHER == 0 else 1
            setattr(module, name, nn.GroupNorm(groups, channels, device=child.weight.device))
        else:
            _norms_of_groups(child)


def _after_strides(side: int, stride: int) -> int:
    """Each convolution and pooling pads by half its kernel, and so gives side / stride, rounded up."""
    for step in (stride, 2, 2, 2, 2):
        side = -(-side // step)
    return side


def _monai() -> Any:
    try:
        from monai.networks import nets
    except ImportError as error:
        raise ExtraMissing("monai, or einops which its ViT needs, is not installed", hint=_EXTRA) from error
    return nets

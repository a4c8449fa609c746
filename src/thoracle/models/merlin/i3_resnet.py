"""The inflated 3D ResNet of the Merlin family (torchvision's bottlenecks, their stride on the second convolution).

At inference each batch norm is folded into the convolution before it. Attribute names are the published state-dict keys.

Shapes: B volumes, (Z, X, Y) as the network orders its axes, C channels.
"""

from __future__ import annotations

from typing import Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.models.merlin.config import EXPANSION, MerlinConfig

_MOMENTUM: Final = 0.1
_EPS: Final = 1e-5
#: Voxels of a feature along x, y and z: stem, pooling and three stages halve the sides, rounded up, and the stem leaves z as it is.
STRIDES: Final = (32, 32, 16)
#: An image network's colours, which are all the volume.
_COLOURS: Final = 3


class BatchNorm(nn.Module):
    """Normalize channels by their mean and variance: of the batch in training, the running ones otherwise."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.running_mean: Tensor
        self.running_var: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (B, C, …)."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training, _MOMENTUM, _EPS)

    def fold_into(self, conv: nn.Conv3d) -> tuple[Tensor, Tensor]:
        """Compute weight and bias of the convolution that gives what this norm makes of `conv`."""
        scale = self.weight * (self.running_var + _EPS).rsqrt()
        return conv.weight * scale.view(-1, 1, 1, 1, 1), self.bias - self.running_mean * scale


class Bottleneck(nn.Module):
    """Add three convolutions of a narrower width to a shortcut."""

    def __init__(self, channels: int, width: int, *, stride: int, projects: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(channels, width, 1), BatchNorm(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride=stride), BatchNorm(width)
        self.conv3, self.bn3 = _conv(width, EXPANSION * width, 1), BatchNorm(EXPANSION * width)
        self.downsample = (
            nn.ModuleList([_conv(channels, EXPANSION * width, 1, stride=stride), BatchNorm(EXPANSION * width)]) if projects else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the block."""
        shortcut = x if self.downsample is None else _normed(x, cast(nn.Conv3d, self.downsample[0]), cast(BatchNorm, self.downsample[1]))
        inner = F.relu(_normed(x, self.conv1, self.bn1), inplace=True)
        inner = F.relu(_normed(inner, self.conv2, self.bn2), inplace=True)
        return F.relu(_normed(inner, self.conv3, self.bn3).add_(shortcut), inplace=True)


class I3ResNet(nn.Module):
    """Encode volumes as features on a grid."""

    def __init__(self, config: MerlinConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(_COLOURS, config.width, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False)
        self.bn1 = BatchNorm(config.width)
        channels = config.width
        for stage, count in enumerate(config.layers):
            width = config.width * 2**stage
            blocks = nn.ModuleList()
            for number in range(count):
                stride = 2 if stage and not number else 1
                blocks.append(Bottleneck(channels, width, stride=stride, projects=not number))
                channels = EXPANSION * width
            self.add_module(f"layer{stage + 1}", blocks)
        self._stages = len(config.layers)

    def stem(self, volume_B1ZXY: Tensor) -> Tensor:
        """Compute (B, C, Z, X / 2, Y / 2)."""
        # The colours are alike: their weights add up, at a third of the work.
        if self.training:
            return F.relu(self.bn1(self.conv1(volume_B1ZXY.expand(-1, _COLOURS, -1, -1, -1))))
        weight, bias = self.bn1.fold_into(self.conv1)
        return F.relu(F.conv3d(volume_B1ZXY, weight.sum(dim=1, keepdim=True), bias, self.conv1.stride, _padding(self.conv1)), inplace=True)

    def encode_features(self, volume_B1ZXY: Tensor) -> Tensor:
        """Compute the features (B, C, Z, X, Y) of the last stage, all at least 0."""
        # Channels last, which convolutions keep: they copy nothing then, and the peak of memory is a third lower, in the same time.
        x = F.max_pool3d(self.stem(volume_B1ZXY.contiguous(memory_format=torch.channels_last_3d)), 3, stride=2, padding=1)
        for stage in range(self._stages):
            for block in cast(nn.ModuleList, getattr(self, f"layer{stage + 1}")):
                x = block(x)
        return x


def _normed(x: Tensor, conv: nn.Conv3d, norm: BatchNorm) -> Tensor:
    if norm.training:
        return cast(Tensor, norm(conv(x)))
    weight, bias = norm.fold_into(conv)
    return F.conv3d(x, weight, bias, conv.stride, _padding(conv))


def _conv(channels: int, width: int, kernel: int, *, stride: int = 1) -> nn.Conv3d:
    return nn.Conv3d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)


def _padding(conv: nn.Conv3d) -> tuple[int, ...]:
    return cast("tuple[int, ...]", conv.padding)

"""MedFinder's image encoder: tokens on the grid that it names, norms within a volume, and the line that installs what it needs."""

from __future__ import annotations

import builtins
from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from thoracle.errors import ExtraMissing
from thoracle.models.medfinder.config import MedFinderConfig, ResNetConfig, ViTConfig
from thoracle.models.medfinder.image_encoder import ImageEncoder

BASIC = ResNetConfig(blocks=(1, 2, 1, 1), widths=(8, 16, 16, 32), bottleneck=False)
BOTTLENECK = ResNetConfig(blocks=(1, 1, 1, 1), widths=(8, 8, 8, 24), stride=2)
VIT = ViTConfig(patch_size=8, dim=24, depth=3, heads=2, mlp=32)


def _encoder(*, size: tuple[int, int, int] = (16, 32, 48), **kind: Any) -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder(MedFinderConfig(size=size, dim_latent=8, heads=2, **kind)).eval()


def _volumes(encoder_size: tuple[int, int, int], count: int = 2) -> Tensor:
    return torch.randn(count, 1, *encoder_size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("kind", "size", "grid", "dim"),
    [
        ({"resnet": BASIC}, (16, 32, 48), (1, 2, 3), 32),  # 16 voxels a token: the pooling and three stages halve
        ({"resnet": BASIC}, (17, 33, 15), (2, 3, 1), 32),  # what is left over has a token too
        ({"resnet": BOTTLENECK}, (33, 32, 65), (2, 1, 3), 96),  # the first convolution halves once more
        ({"vit": VIT}, (16, 8, 24), (2, 1, 3), 24),
    ],
)
def test_tokens_are_as_many_as_the_grid_says(
    kind: dict[str, Any], size: tuple[int, int, int], grid: tuple[int, int, int], dim: int
) -> None:
    encoder = _encoder(size=size, **kind)
    assert (encoder.grid, encoder.dim) == (grid, dim)
    with torch.inference_mode():
        assert encoder(_volumes(size)).shape == (2, prod(grid), dim)


def test_tokens_of_a_resnet_are_in_the_order_of_the_grid() -> None:
    encoder = _encoder(resnet=BASIC)
    features: list[Tensor] = []
    encoder.net.layer4.register_forward_hook(lambda *call: features.append(call[2]))
    with torch.inference_mode():
        tokens = encoder(_volumes((16, 32, 48)))
    (map_BCZHW,) = features
    assert map_BCZHW.shape[2:] == encoder.grid
    for row in range(2):
        for column in range(3):
            assert torch.equal(tokens[:, row * 3 + column], map_BCZHW[:, :, 0, row, column])


@pytest.mark.parametrize("kind", [{"resnet": BASIC}, {"resnet": BOTTLENECK}, {"vit": VIT}])
def test_what_a_volume_gives_does_not_depend_on_what_it_is_encoded_with(kind: dict[str, Any]) -> None:
    encoder, volumes = _encoder(**kind).train(), _volumes((16, 32, 48), count=3)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(volumes[1:2]), encoder(volumes)[1:2])
        torch.testing.assert_close(encoder(volumes.flip(0)), encoder(volumes).flip(0))


def test_norms_take_16_channels_together_or_all_of_them() -> None:
    widths = ResNetConfig(blocks=(1, 1, 1, 1), widths=(8, 16, 24, 64), bottleneck=False)
    modules = list(_encoder(resnet=widths).modules())
    assert not any(isinstance(module, nn.BatchNorm3d) for module in modules)
    groups = {module.num_channels: module.num_groups for module in modules if isinstance(module, nn.GroupNorm)}
    assert groups == {8: 1, 16: 1, 24: 1, 64: 4}


def test_blocks_are_those_of_all_stages_or_the_layers() -> None:
    assert len(list(_encoder(resnet=BASIC).blocks())) == 1 + 2 + 1 + 1
    assert len(list(_encoder(vit=VIT).blocks())) == 3
    with torch.device("meta"):
        blocks = list(ImageEncoder(MedFinderConfig(resnet=ResNetConfig())).blocks())
    assert len(blocks) == 3 + 4 + 6 + 3


def test_without_monai_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("monai"):
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ExtraMissing, match=r"pip install 'thoracle\[medfinder\]'"):
        _encoder(resnet=BASIC)

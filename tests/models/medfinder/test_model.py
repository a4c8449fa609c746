"""MedFinder: shapes, what its two views do, and what one volume is at inference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from thoracle.models.encoder import EncodedText
from thoracle.models.medfinder.config import MedFinderConfig, ResNetConfig, ViTConfig
from thoracle.models.medfinder.model import MedFinder
from thoracle.models.registry import REGISTRY
from thoracle.models.text.config import TextConfig

SIZE = (16, 32, 48)
TEXT = TextConfig(
    vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=32
)
RESNET = ResNetConfig(blocks=(1, 1, 1, 1), widths=(8, 8, 16, 32), bottleneck=False)
ENCODERS: dict[str, Any] = {
    "basic": {"resnet": RESNET},
    "bottleneck, stride 2": {"resnet": replace(RESNET, bottleneck=True, stride=2, blocks=(1, 2, 1, 1))},
    "vit": {"vit": ViTConfig(patch_size=8, dim=24, depth=2, heads=2, mlp=32)},
}
GRIDS = {"basic": (1, 2, 3), "bottleneck, stride 2": (1, 1, 2), "vit": (2, 4, 6)}


def model(**changes: Any) -> MedFinder:
    torch.manual_seed(0)
    values = {"size": SIZE, "bert": TEXT, "dim_latent": 8, "heads": 2, **(changes or ENCODERS["basic"])}
    return MedFinder(MedFinderConfig(**{"resnet": None if "vit" in values else RESNET, **values})).eval()


def views(count: int = 2, volumes: int = 3) -> torch.Tensor:
    return torch.randn(volumes, count, *SIZE, generator=torch.Generator().manual_seed(1))


def text(rows: int = 3) -> EncodedText:
    ids = torch.randint(5, 64, (rows, 7), generator=torch.Generator().manual_seed(2))
    return EncodedText(input_ids_BN=ids, attention_mask_BN=torch.ones(rows, 7, dtype=torch.long))


@pytest.mark.parametrize("name", ENCODERS)
def test_volumes_become_a_grid_of_tokens_and_latents_of_unit_norm(name: str) -> None:
    finder = model(**ENCODERS[name])
    encoded = finder.encode_volume(views(1))
    assert encoded.tokens.shape == (3, *GRIDS[name], 8)
    assert encoded.codebook_indices is None
    latents = finder.encode_pair_latents(text(), views())
    assert [tuple(one.shape) for one in latents] == [(3, 8)] * 4
    for latent in (encoded.latent_BL, *latents):
        torch.testing.assert_close(latent.norm(dim=-1), torch.ones(3))


@pytest.mark.parametrize("cross", [True, False])
def test_neither_view_is_the_first(cross: bool) -> None:
    finder, both = model(cross_attention=cross), views()
    _, image, one, other = finder.encode_pair_latents(text(), both)
    _, swapped, first, second = finder.encode_pair_latents(text(), both.flip(1))
    torch.testing.assert_close(swapped, image)
    torch.testing.assert_close((first, second), (other, one))
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("cross", [True, False])
def test_a_volume_is_what_two_views_that_were_not_changed_are(cross: bool) -> None:
    finder, volume = model(cross_attention=cross), views(1)
    alone = finder.encode_volume(volume).latent_BL
    text_BL, image, one, other = finder.encode_pair_latents(text(), volume.expand(-1, 2, -1, -1, -1))
    torch.testing.assert_close(image, alone)
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(finder.encode_pair_latents(text(), volume), (text_BL, alone))


def test_a_volume_does_not_depend_on_what_it_is_encoded_with() -> None:
    finder, volumes = model().train(), views(1)
    assert not any(isinstance(module, nn.BatchNorm3d) for module in finder.modules())
    torch.testing.assert_close(finder.encode_volume(volumes[:1]).latent_BL, finder.encode_volume(volumes).latent_BL[:1])
    torch.testing.assert_close(finder.encode_volume(volumes).latent_BL, finder.eval().encode_volume(volumes).latent_BL)


def test_cross_attention_mixes_views_and_not_volumes() -> None:
    finder, both = model(), views()
    changed = both.clone()
    changed[0, 1] += 1
    _, before, *_ = finder.encode_pair_latents(text(), both)
    _, after, one, _ = finder.encode_pair_latents(text(), changed)
    assert not torch.allclose(before[0], after[0])
    torch.testing.assert_close(before[1:], after[1:])
    torch.testing.assert_close(one, finder.encode_pair_latents(text(), both)[2])


def test_the_published_size_is_the_default() -> None:
    config = MedFinderConfig(resnet=ResNetConfig())
    shapes = REGISTRY["medfinder"].weight_shapes(config)
    assert shapes["image.net.layer4.2.conv3.weight"] == (2048, 512, 1, 1, 1)
    assert shapes["to_visual_latent.weight"] == (512, 2048)
    with torch.device("meta"):
        assert MedFinder(config).image.grid == (6, 14, 14)
        assert MedFinder(MedFinderConfig(vit=ViTConfig())).image.grid == (6, 14, 14)

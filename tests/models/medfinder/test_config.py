"""MedFinder's sizes: the published ones, those that come back from a mapping, and those that contradict each other."""

from __future__ import annotations

from typing import Any

import pytest

from thoracle.config_reader import config_from_mapping, config_to_mapping
from thoracle.errors import InputError
from thoracle.models.medfinder.config import MedFinderConfig, ResNetConfig, ViTConfig


def test_a_resnet_of_bottlenecks_gives_four_times_its_last_width() -> None:
    assert ResNetConfig().dim == 2048, "ResNet-50 (He et al., table 1)"
    assert ResNetConfig(bottleneck=False).dim == 512, "ResNet-18 and 34"
    assert ResNetConfig(widths=(8, 8, 16, 24)).dim == 96


def test_the_published_sizes_are_the_defaults() -> None:
    config = MedFinderConfig(resnet=ResNetConfig())
    assert (config.size, config.dim_latent, config.heads, config.cross_attention) == ((96, 224, 224), 512, 8, True)
    assert ResNetConfig().blocks == (3, 4, 6, 3)
    vit = ViTConfig()
    assert (vit.patch_size, vit.dim, vit.depth, vit.heads, vit.mlp) == (16, 768, 12, 12, 3072), "ViT-B/16 (Dosovitskiy et al., table 1)"


@pytest.mark.parametrize(
    "encoder",
    [
        {"resnet": ResNetConfig(blocks=(1, 2, 1, 1), widths=(8, 8, 16, 32), bottleneck=False, stride=2)},
        {"vit": ViTConfig(patch_size=8, dim=24, depth=2, heads=2, mlp=32)},
    ],
)
def test_a_configuration_is_read_back(encoder: dict[str, Any]) -> None:
    config = MedFinderConfig(size=(16, 32, 48), dim_latent=8, heads=2, cross_attention=False, **encoder)
    mapping = config_to_mapping(config)
    assert config_from_mapping(MedFinderConfig, mapping) == config
    assert (mapping["resnet"] is None) == ("vit" in encoder)
    assert mapping["size"] == [16, 32, 48]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "one of resnet and vit"),
        ({"resnet": {}, "vit": {}}, r"one of resnet and vit.*`resnet: \{\}` is ResNet-50"),
        ({"resnet": {"blocks": [1, 1]}}, r"resnet\.blocks must be a list of 4"),
        ({"resnet": {"widths": "wide"}}, r"resnet\.widths must be a list of 4"),
        ({"resnet": {"widths": [8, 8, 0, 8]}}, r"resnet\.widths\[2\] must be a whole number at least 1, is 0"),
        ({"resnet": 50}, "must hold settings"),
        ({"resnet": {}, "heads": 7}, "heads 7 does not divide dim_latent 512"),
        ({"vit": {}, "size": [90, 224, 224]}, r"vit\.patch_size 16 does not divide \(90, 224, 224\)"),
        ({"vit": {"heads": 5}}, "vit: heads 5 does not divide dim 768"),
        ({"resnet": {}, "depth": 50}, "unknown depth"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        config_from_mapping(MedFinderConfig, values)


def test_a_resnet_takes_sizes_that_no_patch_divides() -> None:
    assert MedFinderConfig(resnet=ResNetConfig(), size=(90, 221, 7)).size == (90, 221, 7)

from __future__ import annotations

from dataclasses import replace

from tests.models.tiny_configs import CONFIGS
from thoracle.models.encoder import Capability
from thoracle.models.registry import REGISTRY


def test_saliency_is_there_where_the_encoder_has_it() -> None:
    spec, config = REGISTRY["image-text"], CONFIGS["image-text"]
    assert Capability.SALIENCY not in spec.capabilities(config)
    assert Capability.SALIENCY in spec.capabilities(replace(config, encoder_kind="colipri", encoder=CONFIGS["colipri"]))
    assert Capability.SALIENCY in spec.capabilities(None)
    assert Capability.CODES not in spec.capabilities(replace(config, encoder_kind="ct-clip", encoder=CONFIGS["ct-clip"]))

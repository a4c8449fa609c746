from __future__ import annotations

from dataclasses import replace

from tests.models.tiny_configs import CONFIGS
from thoracle.models.encoder import Capability
from thoracle.models.registry import REGISTRY


def test_what_an_encoder_can_do_is_passed_on_but_words_and_codes() -> None:
    spec, config = REGISTRY["token-classifier"], CONFIGS["token-classifier"]
    volumes = {Capability.VOLUMES, Capability.LATENTS, Capability.TOKEN_GRID}
    assert spec.capabilities(config) == volumes | {Capability.LABELS, Capability.LABEL_ATTENTION}
    on_codes = replace(config, head="linear", encoder_kind="ctvit", encoder=CONFIGS["ctvit"])
    assert spec.capabilities(on_codes) == {Capability.VOLUMES, Capability.TOKEN_GRID, Capability.LABELS}
    on_crops = replace(config, head="linear", encoder_kind="spectre", encoder=CONFIGS["spectre"])
    assert Capability.TOKEN_GRID not in spec.capabilities(on_crops)
    on_patches = replace(config, head="linear", encoder_kind="colipri", encoder=CONFIGS["colipri"])
    assert spec.capabilities(on_patches) == volumes | {Capability.LABELS, Capability.SALIENCY}

"""Describe the kind that pairs the image side of any other kind with a text encoder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from thoracle.models.common.prompts import PROMPTS
from thoracle.models.common.wrapped_config import wrapped_config
from thoracle.models.encoder import Capability
from thoracle.models.imagetext.config import ImageTextConfig
from thoracle.models.imagetext.model import ImageTextEncoder
from thoracle.models.model_spec import ModelSpec, TextRules
from thoracle.types import ABNORMALITIES

_OWN: Final = frozenset({Capability.VOLUMES, Capability.LATENTS, Capability.TEXT, Capability.ZERO_SHOT})
_PASSED_ON: Final = frozenset({Capability.SALIENCY, Capability.TOKEN_GRID})


def image_text_spec(encoders: Mapping[str, ModelSpec]) -> ModelSpec:
    """Make the spec; `encoders` are the kinds whose image side it takes, by name."""
    readers = {kind: spec.read_config for kind, spec in encoders.items()}

    def capabilities(config: ImageTextConfig | None) -> frozenset[Capability]:
        inner = _PASSED_ON if config is None else encoders[config.encoder_kind].capabilities(config.encoder)
        return _OWN | (inner & _PASSED_ON)

    return ModelSpec(
        kind="image-text",
        name="image-text",
        title="another model's volume encoder with a text encoder",
        licence="that of the volume encoder, and of the data it was trained on",
        read_config=partial(wrapped_config, ImageTextConfig, readers),
        build=lambda config: ImageTextEncoder(config, encoders[config.encoder_kind].build(config.encoder)),
        modules=(ImageTextEncoder,),
        capabilities=capabilities,
        labels=lambda _: ABNORMALITIES,
        prompts=PROMPTS,
        text_rules=TextRules(
            tokenizer="cxr-bert",
            tokenizer_files="vocab.txt and tokenizer_config.json of microsoft/BiomedVLP-CXR-BERT-specialized",
            vocab_size=lambda config: config.bert.vocab_size,
        ),
    )

"""Describe the kind that classifies by the tokens of an encoder of any other kind."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from thoracle.models.common.wrapped_config import wrapped_config
from thoracle.models.encoder import Capability
from thoracle.models.model_spec import ModelSpec
from thoracle.models.tokenclassifier.config import TokenClassifierConfig
from thoracle.models.tokenclassifier.model import TokenClassifier

KIND: Final = "token-classifier"
#: What a classifier leaves as it is in its encoder.
_PASSED_ON: Final = frozenset({Capability.VOLUMES, Capability.LATENTS, Capability.SALIENCY, Capability.TOKEN_GRID})


def token_classifier_spec(encoders: Mapping[str, ModelSpec]) -> ModelSpec:
    """Make the spec; `encoders` are the kinds whose tokens it reads, by name."""
    readers = {kind: spec.read_config for kind, spec in encoders.items()}

    def capabilities(config: TokenClassifierConfig | None) -> frozenset[Capability]:
        if config is None:
            return _PASSED_ON | {Capability.LABELS, Capability.LABEL_ATTENTION}
        looks = {Capability.LABEL_ATTENTION} if config.head == "label-attention" else set()
        return (encoders[config.encoder_kind].capabilities(config.encoder) & _PASSED_ON) | {Capability.LABELS} | looks

    return ModelSpec(
        kind=KIND,
        name="token-classifier",
        title="a classifier on another model's tokens",
        licence="that of the encoder, and of the data it was trained on",
        read_config=partial(wrapped_config, TokenClassifierConfig, readers),
        build=lambda config: TokenClassifier(config, encoders[config.encoder_kind].build(config.encoder)),
        modules=(TokenClassifier,),
        capabilities=capabilities,
        labels=lambda config: config.labels,
    )

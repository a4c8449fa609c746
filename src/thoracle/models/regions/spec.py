"""Describe the kind that reads findings place by place on an encoder of any other kind."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from thoracle.models.common.wrapped_config import wrapped_config
from thoracle.models.encoder import Capability
from thoracle.models.model_spec import ModelSpec
from thoracle.models.regions.config import RegionsConfig
from thoracle.models.regions.model import RegionModel

KIND = "regions"


def regions_spec(encoders: Mapping[str, ModelSpec]) -> ModelSpec:
    """Make the spec; `encoders` are the kinds it is read on, by name."""
    readers = {kind: spec.read_config for kind, spec in encoders.items()}
    return ModelSpec(
        kind=KIND,
        name="regions",
        title="findings read place by place on another model's patches",
        licence="that of the encoder, and of the data it was fitted to",
        read_config=partial(wrapped_config, RegionsConfig, readers),
        build=lambda config: RegionModel(config, encoders[config.encoder_kind].build(config.encoder)),
        modules=(RegionModel,),
        capabilities=lambda _: frozenset({Capability.VOLUMES, Capability.TOKEN_GRID, Capability.REGIONS}),
        labels=lambda config: config.labels,
    )

"""Describe the kind that reads findings place by place on an encoder of any other kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from thoracle.config_reader import config_from_mapping
from thoracle.errors import InputError
from thoracle.models.encoder import Capability
from thoracle.models.model_spec import ModelSpec
from thoracle.models.regions.config import RegionsConfig
from thoracle.models.regions.model import RegionModel

KIND = "regions"


def regions_spec(encoders: Mapping[str, ModelSpec]) -> ModelSpec:
    """Make the spec; `encoders` are the kinds it is read on, by name."""

    def read_config(values: Mapping[str, Any]) -> RegionsConfig:
        kind = str(values.get("encoder_kind"))
        if kind not in encoders:
            raise InputError(f"encoder_kind is {kind!r}, which is none of {', '.join(encoders)}", hint="Correct it.", source="config")
        plain = {name: value for name, value in values.items() if name != "encoder"}
        return replace(config_from_mapping(RegionsConfig, plain), encoder=encoders[kind].read_config(values["encoder"]))

    return ModelSpec(
        kind=KIND,
        name="regions",
        title="findings read place by place on another model's patches",
        licence="that of the encoder, and of the data it was fitted to",
        read_config=read_config,
        build=lambda config: RegionModel(config, encoders[config.encoder_kind].build(config.encoder)),
        modules=(RegionModel,),
        capabilities=lambda _: frozenset({Capability.VOLUMES, Capability.REGIONS}),
        labels=lambda config: config.labels,
    )

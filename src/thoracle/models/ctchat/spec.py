"""Describe CT-CHAT's projector."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from thoracle.config_reader import config_from_mapping
from thoracle.models.citations import CT_CLIP
from thoracle.models.common.shapes import Shapes
from thoracle.models.common.size_inference import Values, settle, size_of
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector
from thoracle.models.model_spec import CT_RATE_LICENCE, ConfigGuess, ModelSpec

_PREFIX: Final = re.compile(r"^(.*\.)?mm_projector\.")


def _read_config(values: Mapping[str, Any]) -> ProjectorConfig:
    return config_from_mapping(ProjectorConfig, values, source="projector")


def _infer_config(shapes: Shapes, settings: Mapping[str, Any]) -> ConfigGuess:
    notes: list[str] = []
    values = settle("projector", _sizes(shapes), {"heads": 8}, settings, notes)
    return ConfigGuess(config=_read_config(values), preprocess=None, assumptions=tuple(notes))


def _sizes(shapes: Shapes) -> Values:
    return {
        "num_queries": size_of(shapes, "attn_pool.query", 0),
        "dim": size_of(shapes, "attn_pool.query", 1),
        "dim_context": size_of(shapes, "attn_pool.to_kv.weight", 1),
        "attention_dim": size_of(shapes, "attn_pool.to_q.weight", 0),
        "hidden_size": size_of(shapes, "proj.0.weight", 0),
    }


PROJECTOR: Final = ModelSpec(
    kind="chat-projector",
    name="mm_projector",
    title="CT-CHAT's projector from volume tokens to a language model",
    licence=CT_RATE_LICENCE,
    citations=(CT_CLIP,),
    read_config=_read_config,
    build=Projector,
    modules=(Projector,),
    capabilities=lambda _: frozenset(),
    labels=lambda _: (),
    key_pattern=_PREFIX,
    select_names=lambda names, _: {name: _PREFIX.sub("", name) for name in names},
    infer_config=_infer_config,
)

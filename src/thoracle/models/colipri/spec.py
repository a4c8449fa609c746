"""Describe COLIPRI, and infer its sizes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from thoracle.config_reader import config_from_mapping
from thoracle.ct.recipes.published import COLIPRI as RECIPE
from thoracle.ct.recipes.recipe import CropOrPad
from thoracle.errors import CheckpointIncomplete
from thoracle.models.citations import COLIPRI as COLIPRI_PAPER
from thoracle.models.colipri.config import ColipriConfig
from thoracle.models.colipri.model import Colipri
from thoracle.models.common.shapes import Shapes
from thoracle.models.common.size_inference import Values, depth_of, settle, size_of
from thoracle.models.common.tensor_names import summarize_names
from thoracle.models.encoder import Capability
from thoracle.models.model_spec import ConfigGuess, ModelSpec, TextRules
from thoracle.models.text.spec import checked_bert_settings, infer_text
from thoracle.types import ABNORMALITIES

_IMAGE: Final = "image_encoder."
_BLOCKS: Final = "image_encoder.backbone.eva.blocks."
_TEXT: Final = "text_encoder.backbone."
_PUBLISHED: Final = ColipriConfig()
#: In published files, and read by nothing.
_UNUSED: Final = "image_encoder.backbone.mask_token"
#: Of axes that the package's first versions fed it with, and of those since.
_AXES: Final = "axes"


def _select_names(names: Collection[str], _: bool) -> Mapping[str, str]:
    return {name: name for name in names if name != _UNUSED}


def _infer_config(shapes: Shapes, settings: Mapping[str, Any]) -> ConfigGuess:
    _refuse_heads(shapes)
    notes: list[str] = []
    bert = infer_text(shapes, _TEXT, checked_bert_settings(settings.get("bert", {})), notes, positions="bert", published=_PUBLISHED.bert)
    patch = "image_encoder.backbone.down_projection.proj.weight"
    read: Values = {
        "embed_dim": size_of(shapes, patch, 0),
        "patch_size": [size_of(shapes, patch, axis) for axis in (2, 3, 4)],
        "depth": depth_of(shapes, _BLOCKS),
    }
    assumed = {
        "heads": _heads("heads", read["embed_dim"], _PUBLISHED.embed_dim, settings, _PUBLISHED.heads),
        "pooler_heads": _heads("pooler_heads", bert["hidden_size"], _PUBLISHED.bert.hidden_size, settings, _PUBLISHED.pooler_heads),
        "input_shape": [*_PUBLISHED.input_shape],
        "text_pooling": _PUBLISHED.text_pooling,
        _AXES: RECIPE.axes,
    }
    top = settle("config", read, assumed, {name: value for name, value in settings.items() if name != "bert"}, notes)
    axes = top.pop(_AXES)
    config = config_from_mapping(ColipriConfig, {**top, "bert": bert})
    assert isinstance(RECIPE.fit, CropOrPad), "it crops and pads"
    recipe = replace(RECIPE, axes=axes, fit=replace(RECIPE.fit, size=config.input_shape))
    return ConfigGuess(config=config, preprocess=recipe, assumptions=tuple(notes))


def _heads(name: str, width: int, published_width: int, settings: Mapping[str, Any], published: int) -> int:
    if width != published_width and name not in settings:
        detail = f"the number of {name} is not in the tensors, and their width {width} is not the published {published_width}"
        raise CheckpointIncomplete(detail, hint=f"Give it as {name} in --config.")
    return published


def _refuse_heads(shapes: Shapes) -> None:
    """Refuse COLIPRI's image encoder with heads of others, such as RevCT's."""
    if any(name.startswith(_TEXT) for name in shapes):
        return
    heads = [name for name in shapes if not name.startswith(_IMAGE)]
    detail = f"it has no text encoder ({_TEXT}*)"
    if heads:
        detail += (
            f", and {len(heads)} tensors that are not of its image encoder: {summarize_names(heads)}. If these are RevCT's heads: what they"
            " read (pooled, dense or raw tokens), their calibration and their thresholds are published nowhere that Thoracle's authors know"
        )
    raise CheckpointIncomplete(detail, hint="Give COLIPRI's own model.safetensors: `thoracle fetch colipri`.")


COLIPRI: Final = ModelSpec(
    kind="colipri",
    name="COLIPRI",
    title="COLIPRI (volume and text encoder)",
    licence="MIT if this is the file that Microsoft published (research use, says its card); otherwise what the author of the file says",
    read_config=partial(config_from_mapping, ColipriConfig),
    build=Colipri,
    modules=(Colipri,),
    capabilities=lambda _: frozenset(
        {
            Capability.VOLUMES,
            Capability.LATENTS,
            Capability.PATCH_LATENTS,
            Capability.TEXT,
            Capability.ZERO_SHOT,
            Capability.SALIENCY,
            Capability.TOKEN_GRID,
        }
    ),
    labels=lambda _: ABNORMALITIES,
    prompts=("{abnormality} present", "No {abnormality} present"),
    text_rules=TextRules(
        tokenizer="cxr-bert",
        tokenizer_files="vocab.txt and tokenizer_config.json of microsoft/BiomedVLP-CXR-BERT-specialized",
        vocab_size=lambda config: config.bert.vocab_size,
    ),
    # Anything before `image_encoder.` is a wrapper's, and is taken off first; RevCT's names before `eva` are not known.
    key_pattern=re.compile(r"^(?!.+\.image_encoder\.)(.*\.)?eva\.blocks\.\d"),
    select_names=_select_names,
    infer_config=_infer_config,
    citations=(COLIPRI_PAPER,),
)

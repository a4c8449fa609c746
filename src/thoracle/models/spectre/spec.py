"""Describe SPECTRE, and find its two parts in published files."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Final

from thoracle.config_reader import config_from_mapping
from thoracle.ct.recipes.published import SPECTRE as RECIPE
from thoracle.errors import CheckpointIncomplete
from thoracle.models.citations import SPECTRE as SPECTRE_PAPER
from thoracle.models.common.shapes import Shapes
from thoracle.models.common.size_inference import settle, size_of
from thoracle.models.encoder import Capability
from thoracle.models.model_spec import ConfigGuess, ModelSpec
from thoracle.models.spectre.config import WIDTHS, SpectreConfig
from thoracle.models.spectre.model import Spectre

#: Of each part, in the package, the name of one tensor that the other does not have.
_PARTS: Final = {"backbone": "patch_embed.proj.weight", "feature_combiner": "patch_proj.weight"}
_FILES: Final = ("spectre_backbone_vit_large_patch16_128.pt", "spectre_combiner_feature_vit_large.pt")
#: In the name of the backbone as it was before it was aligned with language: the combiner was trained on the other.
_NOT_ALIGNED: Final = "no_vla"
_HINT: Final = f"Put {' and '.join(_FILES)} into one folder, and give the folder."


def _select_names(names: Collection[str], _: bool) -> Mapping[str, str]:
    prefixes = {part: [name.removesuffix(sign) for name in names if name.endswith(sign)] for part, sign in _PARTS.items()}
    counts = {part: len(behind) for part, behind in prefixes.items()}
    if {*counts.values()} != {1}:
        counted = " and ".join(f"{count} {part.removeprefix('feature_')}" for part, count in counts.items())
        raise CheckpointIncomplete(f"SPECTRE is one backbone and one combiner, here are {counted}", hint=_HINT)
    (backbone,), (combiner,) = prefixes.values()
    if _NOT_ALIGNED in backbone:
        detail = f"{backbone.rstrip('.')} is the backbone before it was aligned with language, on which the combiner was not trained"
        raise CheckpointIncomplete(detail, hint=_HINT)
    return {
        name: f"network.{part}.{name[len(prefix) :]}"
        for part, prefix in (("feature_combiner", combiner), ("backbone", backbone))
        for name in names
        if name.startswith(prefix)
    }


def _infer_config(shapes: Shapes, settings: Mapping[str, Any]) -> ConfigGuess:
    width = size_of(shapes, "network.backbone.cls_token", 2)
    size = {width: size for size, width in WIDTHS.items()}.get(width)
    if size is None:
        raise CheckpointIncomplete(f"its width is {width}, the package knows {', '.join(map(str, WIDTHS.values()))}", hint=_HINT)
    notes = ["both parts are of the same training, which tensors do not tell: the backbone aligned with language, not the one before"]
    config = config_from_mapping(SpectreConfig, settle("config", {"size": size}, {}, settings, notes))
    return ConfigGuess(config=config, preprocess=RECIPE, assumptions=tuple(notes))


SPECTRE: Final = ModelSpec(
    kind="spectre",
    name="SPECTRE",
    title="SPECTRE (volume encoder, run by spectre-fm)",
    licence="CC BY-NC-SA 4.0 (non-commercial use only) if these are the files that SPECTRE's authors published;"
    " otherwise what the author of the files says",
    read_config=partial(config_from_mapping, SpectreConfig),
    build=Spectre,
    modules=(Spectre,),
    capabilities=lambda _: frozenset({Capability.VOLUMES, Capability.LATENTS}),
    labels=lambda _: (),
    # One prefix at most: that of the part, or of its file.
    key_pattern=re.compile(r"^([^.]+\.)?blocks\.0\.attn\.kv\.weight$"),
    select_names=_select_names,
    files=_FILES,
    infer_config=_infer_config,
    citations=(SPECTRE_PAPER,),
)

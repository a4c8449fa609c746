"""A tiny model of each family of encoders, with a recipe of its own: what tests of several commands begin with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.models.tiny_configs import CONFIGS, TINY
from thoracle.ct.preprocess import PreprocessConfig, Preprocessing
from thoracle.ct.recipes.published import ASTRA_CHEST, COLIPRI, MERLIN, SPECTRE
from thoracle.ct.recipes.recipe import FitToTiles, ResizeByArea
from thoracle.models.bundle.model_folder import ModelFolder, save_model
from thoracle.models.common.prompts import format_prompts
from thoracle.models.merlin.config import MerlinConfig
from thoracle.models.registry import REGISTRY
from thoracle.models.text.tokenizer import Tokenizer

SIZE = (60, 120, 120)
CLIP = PreprocessConfig(spacing=(6.0, 3.0, 3.0), size=SIZE)
COLIPRI_TINY = replace(
    COLIPRI, resampling=replace(COLIPRI.resampling, spacing=(8.0, 8.0, 8.0)), fit=replace(COLIPRI.fit, size=(48, 40, 40))
)
MERLIN_TINY = replace(MERLIN, resampling=replace(MERLIN.resampling, spacing=(6.0, 6.0, 12.0)), fit=replace(MERLIN.fit, size=(64, 64, 32)))
#: A model of each family: its kind, its sizes, its recipe.
MODELS: dict[str, tuple[str, Any, Preprocessing]] = {
    "ct-clip": ("ct-clip", TINY, CLIP),
    "lipro": ("ct-clip-classifier", TINY, CLIP),
    "ctvit": ("ctvit", TINY.ctvit, CLIP),
    "medfinder": ("medfinder", CONFIGS["medfinder"], CLIP),
    "colipri": ("colipri", replace(CONFIGS["colipri"], input_shape=(48, 40, 40), patch_size=(8, 8, 8)), COLIPRI_TINY),
    "merlin": ("merlin", CONFIGS["merlin"], MERLIN_TINY),
    "merlin-text": ("merlin", replace(CONFIGS["merlin"], bert=replace(TINY.bert, attention_window=8)), MERLIN_TINY),
    "astra": ("merlin", MerlinConfig(width=2, layers=(1, 1, 1, 1), contrastive_dim=None),
              replace(ASTRA_CHEST, resampling=ResizeByArea(samples=(64, 64, 32)))),
    "merlin-tiles": ("merlin", CONFIGS["merlin"], replace(MERLIN, resampling=None, fit=FitToTiles(tile=(32, 32, 16), padding=0.0))),
    "spectre": ("spectre", CONFIGS["spectre"], SPECTRE),
}  # fmt: skip


def write_encoder(out: Path, kind: str, config: Any, recipe: Preprocessing, *, seed: int = 0) -> ModelFolder:
    """Write random weights."""
    spec = REGISTRY[kind]
    torch.manual_seed(seed)
    return save_model(
        out,
        kind=kind,
        config=config,
        preprocess=recipe,
        labels=spec.labels(config),
        tensors=spec.build(config).state_dict(),
        tokenizer=Tokenizer.from_words(format_prompts()) if spec.text_rules else None,
        licence="none",
        trained=False,
    )

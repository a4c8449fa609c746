"""A tiny configuration of each kind in the registry, which tests of all kinds share."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import pytest

from thoracle.models.colipri.config import ColipriConfig
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctclip.config import PRESETS
from thoracle.models.imagetext.config import ImageTextConfig
from thoracle.models.medfinder.config import MedFinderConfig, ViTConfig
from thoracle.models.merlin.config import MerlinConfig
from thoracle.models.regions.config import ReaderConfig, RegionsConfig
from thoracle.models.spectre.config import SpectreConfig
from thoracle.models.tokenclassifier.config import TokenClassifierConfig

TINY = PRESETS["tiny"]
CONFIGS: dict[str, Any] = {
    "ct-clip": TINY,
    "colipri": ColipriConfig(
        input_shape=(60, 120, 120), patch_size=(20, 20, 20), embed_dim=24, depth=2, heads=2, bert=TINY.bert, pooler_heads=4
    ),
    "merlin": MerlinConfig(width=2, layers=(1, 1, 1, 1), contrastive_dim=8, num_labels=3),
    "spectre": SpectreConfig(size="small"),
    "medfinder": MedFinderConfig(
        size=(60, 120, 120), vit=ViTConfig(patch_size=20, dim=16, depth=1, heads=2, mlp=16), bert=TINY.bert, dim_latent=16, heads=2
    ),
    "ct-clip-classifier": TINY,
    "ctvit": TINY.ctvit,
    "image-text": ImageTextConfig(
        bert=TINY.bert, dim_latent=16, encoder_kind="merlin", encoder=MerlinConfig(width=2, layers=(1, 1, 1, 1), contrastive_dim=None)
    ),
    "token-classifier": TokenClassifierConfig(
        head="label-attention", labels=("Emphysema", "Mass"), encoder_kind="merlin", encoder=MerlinConfig(width=2, layers=(1, 1, 1, 1))
    ),
    "regions": RegionsConfig(
        labels=("Emphysema", "Pleural effusion"),
        margin=0.1,
        tokens=ReaderConfig(grid=(6, 6, 6), dim=TINY.ctvit.dim, components=4, frame=(6, 6, 6), sigma=0.4),
        cells=None,
        before_attention=True,
        encoder_kind="ct-clip",
        encoder=TINY,
    ),
    "text-classifier": TINY.bert,
    "chat-projector": ProjectorConfig(num_queries=4, dim=16, dim_context=16, attention_dim=16, heads=4, hidden_size=24),
}
#: What a kind is shown in tests, where it does not take the size of the others.
SIZES = {"spectre": (128, 128, 64)}
#: By kind, the package that runs it, which this environment does not have: models/spectre/test_model.py takes these tests to one that does.
PACKAGES = {"spectre": "spectre"}


def installed(kinds: Iterable[str]) -> list[Any]:
    """Parameters of a test, of which those are skipped that a package must run which is not installed."""
    absent = {kind for kind, package in PACKAGES.items() if find_spec(package) is None}
    return [pytest.param(kind, marks=pytest.mark.skipif(kind in absent, reason=f"{kind}: its package is absent")) for kind in kinds]

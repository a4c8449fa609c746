"""COLIPRI at its real size: keys, parameters, and what the published package computed with weights and a volume from a formula."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from tests.models.colipri.conftest import colipri
from thoracle.models.colipri.config import ColipriConfig
from thoracle.models.colipri.model import Colipri
from thoracle.models.common.shapes import module_shapes
from thoracle.models.encoder import EncodedText


def test_keys_are_the_published_ones(colipri_dir: Path) -> None:
    shapes = {name: tuple(shape) for name, shape in json.loads((colipri_dir / "full_shapes.json").read_text()).items()}
    del shapes["image_encoder.backbone.mask_token"]
    assert module_shapes(Colipri, ColipriConfig()) == shapes


@pytest.mark.manual
@torch.inference_mode()
def test_published_numbers(colipri_dir: Path, formula: ModuleType, error: Callable) -> None:
    """Takes 4 to 6 minutes of two idle cores."""
    expected = load_file(colipri_dir / "full_expected.safetensors")
    shapes = json.loads((colipri_dir / "full_shapes.json").read_text())
    model = colipri(colipri_dir / "full_config.json", {name: torch.from_numpy(array) for name, array in formula.weights(shapes)})
    volume = torch.from_numpy(formula.volume((192, 192, 192)))
    assert torch.equal(volume.flatten()[:3], expected["check.input_first3"])
    encoded = model.encode_volume(volume[None, None])
    assert error(encoded.tokens.movedim(-1, 1)[:, ::4, ::4, ::4, ::4], expected["image.features_4_4_4_4"]) < 1e-5
    assert error(encoded.latent_BL, expected["image.embedding"]) < 1e-5
    dense = model.image_encoder.pooler.project_values(model.image_encoder.project(encoded.tokens)).movedim(-1, 1)
    assert error(dense[:, ::4, ::6, ::6, ::6], expected["image.dense_4_6_6_6"]) < 1e-5
    text = model.encode_text(EncodedText(input_ids_BN=expected["text.ids"].long(), attention_mask_BN=expected["text.mask"].long()))
    assert error(text, expected["text.embedding"]) < 1e-5
    similarity = encoded.latent_BL @ text.T
    assert error(similarity, expected["similarity"]) < 1e-5
    assert error((similarity * model.logit_scale).softmax(dim=-1), expected["probability"]) < 1e-5

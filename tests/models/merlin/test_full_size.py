"""I3ResNet-152: keys, parameters, and what Merlin's code computed with weights and a volume from a formula."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from tests.models.merlin.conftest import PREFIX, merlin
from thoracle.models.common.shapes import module_shapes
from thoracle.models.merlin.config import MerlinConfig
from thoracle.models.merlin.model import Merlin, pooled

CONFIG = MerlinConfig(labels=tuple(f"phenotype {row + 1}" for row in range(1692)))


def test_keys_are_the_published_ones(merlin_dir: Path) -> None:
    published = {name.removeprefix(PREFIX): tuple(shape) for name, shape in _shapes(merlin_dir).items()}
    assert module_shapes(Merlin, CONFIG) == {name: shape for name, shape in published.items() if not name.endswith("num_batches_tracked")}


@pytest.mark.manual
@torch.inference_mode()
def test_published_numbers(merlin_dir: Path, formula: ModuleType, error: Callable) -> None:
    """Takes half a minute of two idle cores."""
    expected = load_file(merlin_dir / "full_expected.safetensors")
    weights = {name: torch.from_numpy(array) for name, array in formula.weights(_shapes(merlin_dir), gain=0.8)}
    model = merlin(CONFIG, weights)
    volume = torch.from_numpy(formula.volume((224, 224, 160), 0, 1))
    assert torch.equal(volume.flatten()[:3], expected["check.input_first3"])
    encoded = model.encode_volume(volume[None, None])
    assert error(encoded.tokens.permute(0, 4, 3, 1, 2)[:, ::8, ::3, ::2, ::2], expected["features_8_3_2_2"]) < 1e-5
    assert error(pooled(encoded.tokens), expected["pooled"]) < 1e-5
    assert error(encoded.latent_BL, torch.nn.functional.normalize(expected["contrastive"])) < 1e-5
    assert error(encoded.logits_BK, expected["phenotype_logits"]) < 1e-5


def _shapes(folder: Path) -> dict[str, list[int]]:
    return json.loads((folder / "full_shapes.json").read_text())

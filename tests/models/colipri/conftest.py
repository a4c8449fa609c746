"""COLIPRI's published vectors: a tiny checkpoint in the package's own layout, and what the package computed with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from thoracle.config_reader import config_from_mapping
from thoracle.models.colipri.config import ColipriConfig
from thoracle.models.colipri.model import Colipri


@pytest.fixture(scope="session")
def colipri_dir(golden_dir: Path) -> Path:
    return golden_dir / "encoders" / "colipri"


@pytest.fixture(scope="session")
def expected(colipri_dir: Path) -> dict[str, Tensor]:
    return load_file(colipri_dir / "tiny_expected.safetensors")


@pytest.fixture(scope="session")
def tiny(colipri_dir: Path) -> Colipri:
    return colipri(colipri_dir / "tiny_config.json", load_file(colipri_dir / "tiny_model.safetensors"))


def colipri_config(path: Path) -> ColipriConfig:
    """Read the sizes beside the vectors."""
    sizes = json.loads(path.read_text())
    names = ("embed_dim", "depth", "heads", "patch_size", "input_shape", "pooler_heads")
    return config_from_mapping(ColipriConfig, {name: sizes[name] for name in names} | {"bert": sizes["text"]})


def colipri(config: Path, weights: dict[str, Tensor]) -> Colipri:
    """The model of published tensors, but for the one that nothing reads."""
    model = Colipri(colipri_config(config))
    model.load_state_dict({name: tensor for name, tensor in weights.items() if not name.endswith("mask_token")}, assign=True)
    return model.eval()

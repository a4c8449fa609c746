"""The Merlin family's published vectors: a tiny checkpoint in Merlin's own layout, and what its code computed with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from thoracle.models.merlin.config import MerlinConfig
from thoracle.models.merlin.model import Merlin

PREFIX = "encode_image.i3_resnet."


@pytest.fixture(scope="session")
def merlin_dir(golden_dir: Path) -> Path:
    return golden_dir / "encoders" / "merlin"


@pytest.fixture(scope="session")
def expected(merlin_dir: Path) -> dict[str, Tensor]:
    return load_file(merlin_dir / "tiny_expected.safetensors")


@pytest.fixture(scope="session")
def tiny(merlin_dir: Path) -> Merlin:
    sizes = json.loads((merlin_dir / "tiny_config.json").read_text())
    config = MerlinConfig(
        width=sizes["width"],
        layers=tuple(sizes["layers"]),
        contrastive_dim=sizes["contrastive"],
        num_labels=sizes["phenotypes"],
    )
    return merlin(config, torch.load(merlin_dir / "tiny_model.pt", weights_only=True))


def merlin(config: MerlinConfig, published: dict[str, Tensor]) -> Merlin:
    """The model of the published tensors that it needs."""
    model = Merlin(config)
    needed = {name.removeprefix(PREFIX): tensor for name, tensor in published.items() if name.startswith(PREFIX)}
    model.load_state_dict({name: tensor for name, tensor in needed.items() if not name.endswith("num_batches_tracked")}, assign=True)
    return model.eval()

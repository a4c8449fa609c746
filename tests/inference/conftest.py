from __future__ import annotations

from pathlib import Path

import pytest
import torch

from thoracle.ct.preprocess import PreprocessConfig
from thoracle.inference.demo.assets import write_model, write_scan
from thoracle.models.bundle.model_folder import save_model
from thoracle.models.ctclip.config import PRESETS
from thoracle.models.regions.config import ReaderConfig, RegionsConfig
from thoracle.models.registry import REGISTRY

TINY = PRESETS["tiny"]


@pytest.fixture(scope="session")
def sketch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chest of ellipsoids."""
    return write_scan(tmp_path_factory.mktemp("sketch") / "sketch.nii.gz")


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """A tiny untrained CT-CLIP with nothing cached."""
    return write_model(tmp_path / "model").path


@pytest.fixture
def regions_dir(tmp_path: Path) -> Path:
    """A model of random weights that reads two findings by region."""
    tokens = ReaderConfig(grid=(6, 6, 6), dim=TINY.ctvit.dim, components=4, frame=(6, 6, 6), sigma=0.4)
    labels = ("Emphysema", "Pleural effusion")
    config = RegionsConfig(
        labels=labels, margin=0.15, tokens=tokens, cells=None, before_attention=True, encoder_kind="ct-clip", encoder=TINY
    )
    torch.manual_seed(0)
    module = REGISTRY["regions"].build(config)
    for name, buffer in module.named_buffers():
        if name.startswith("tokens."):
            buffer.copy_(torch.rand(buffer.shape) if name.endswith("prior_KN") else torch.randn(buffer.shape))
    preprocess = PreprocessConfig(spacing=(6.0, 3.0, 3.0), size=(60, 120, 120))
    out = tmp_path / "regions"
    save_model(
        out, kind="regions", config=config, preprocess=preprocess, labels=labels, tensors=module.state_dict(), tokenizer=None,
        licence="none", trained=False,
    )  # fmt: skip
    return out

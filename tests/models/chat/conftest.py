"""A language model of two heads on the disk, and an encoder before it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from thoracle.inference.demo.assets import write_model
from thoracle.models.bundle.model_folder import ModelFolder
from thoracle.training.chat.phantom_lm import build_phantom_lm, save_phantom_lm
from thoracle.training.chat.task import SmallLanguageConfig


@pytest.fixture(scope="session")
def small() -> SmallLanguageConfig:
    """Sizes that a test can afford."""
    return SmallLanguageConfig(vocab_size=320, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, small: SmallLanguageConfig) -> Path:
    """Random weights, words of three sentences."""
    torch.manual_seed(0)
    language = build_phantom_lm(small, ["Is there an effusion?", "Yes.", "No."])
    out = tmp_path_factory.mktemp("language") / "base"
    save_phantom_lm(out, language, dict(language.model.named_parameters()))
    return out


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """CT-CLIP's tiny preset, which reads codes: 6 x 6 x 6 tokens of width 64."""
    return write_model(tmp_path_factory.mktemp("encoder") / "tiny")

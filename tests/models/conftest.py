"""The published vectors as tensors, models with the published weights, and the naive rendering that shares no code with the package."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from thoracle.models.ctclip.config import CTCLIPConfig, published_ctclip_config


@dataclass(frozen=True)
class Published:
    """One published checkpoint, and what the published code computed with it."""

    config: CTCLIPConfig
    weights: dict[str, Tensor]
    expected: dict[str, Tensor]


@pytest.fixture(scope="session", params=["ctclip", "ctclip2"])
def published(request: pytest.FixtureRequest, golden_dir: Path) -> Published:
    folder = golden_dir / "published"
    weights = torch.load(folder / f"{request.param}_checkpoint.pt", weights_only=True)
    del weights["text_transformer.embeddings.position_ids"]
    return Published(
        config=published_ctclip_config(json.loads((folder / f"{request.param}_config.json").read_text())),
        weights=weights,
        expected=load_file(folder / f"{request.param}_expected.safetensors"),
    )


@pytest.fixture(scope="session")
def naive() -> ModuleType:
    return _module(Path(__file__).parents[2] / "bench" / "naive.py")


@pytest.fixture(scope="session")
def formula(golden_dir: Path) -> ModuleType:
    """Makes the weights and volumes of full-size vectors."""
    return _module(golden_dir / "encoders" / "formula.py")


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def error() -> Callable[[Tensor, Tensor], float]:
    """The norm of the difference over the norm of what was expected."""
    return lambda got, expected: float((got.detach().double() - expected.double()).norm() / expected.double().norm())

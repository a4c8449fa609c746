"""Two ranks that take the steps that tests compare."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session")
def two_ranks(steps: ModuleType, ranks: Any, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Any]]]:
    """What each rank's steps gave, by the names of `steps.CASES`."""
    out = tmp_path_factory.mktemp("ranks")
    ranks(Path(steps.__file__), out)
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(2)]

from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.inference.demo.assets import write_model, write_scan


@pytest.fixture(scope="session")
def sketch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chest of ellipsoids."""
    return write_scan(tmp_path_factory.mktemp("sketch") / "sketch.nii.gz")


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """A tiny untrained CT-CLIP with nothing cached."""
    return write_model(tmp_path / "model").path

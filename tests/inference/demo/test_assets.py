from __future__ import annotations

from pathlib import Path

import numpy as np

from thoracle.ct.read import read
from thoracle.inference.demo.assets import write_model, write_scan
from thoracle.models.bundle.model_folder import open_model


def test_scan_and_model_are_always_the_same(tmp_path: Path) -> None:
    first, second = (read(write_scan(tmp_path / name)) for name in ("a.nii.gz", "b.nii.gz"))
    assert np.array_equal(first.array, second.array)
    models = [write_model(tmp_path / name) for name in ("m", "n")]
    assert models[0].weights_sha256 == models[1].weights_sha256
    assert open_model(tmp_path / "m", verify=True).trained is False

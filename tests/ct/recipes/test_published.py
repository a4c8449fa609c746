"""The recipes of published encoders against what their packages gave: `shared/golden/encoders/README.md` has the tolerances."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from thoracle.ct.preprocess import preprocess
from thoracle.ct.read import read
from thoracle.ct.recipes.published import ASTRA_CHEST, COLIPRI, MERLIN
from thoracle.ct.recipes.recipe import CropOrPad, Recipe, ResampleToSpacing
from thoracle.ct.volume import Volume

SCANS = {
    "cip_dicom": "dicom/cip_ct64",
    "example_ras": "volumes/totalseg_example_ct.nii.gz",
    "aorta_lps": "volumes/totalseg_aorta_ct_cropped.nii.gz",
}
SMALLER = replace(
    COLIPRI,
    resampling=ResampleToSpacing(spacing=(1.5, 1.5, 1.5), grid="centred", truncates_integers=True),
    fit=CropOrPad(size=(160, 160, 160), padding=None, odd_voxel="before"),
)
#: A thousandth is 1 HU.
WHOLE_HU = 1.0005e-3


def samples(golden: dict[str, NDArray[Any]], name: str, result: NDArray[np.float32], sub: str, every: tuple[slice, ...]) -> NDArray[Any]:
    """Differences at all stored voxels."""
    x, y, z = (112, 112, 80) if "6_6_5" in sub else (n // 2 for n in result.shape)
    pairs = ((result[every], sub), (result[:, y, z], "line_x"), (result[x, :, z], "line_y"), (result[x, y, :], "line_z"))
    return np.concatenate([np.abs(values - golden[f"{name}.{key}"]).ravel() for values, key in pairs])


def scan(data_dir: Path, name: str) -> Volume:
    return read(data_dir / SCANS[name])


@pytest.mark.parametrize(
    ("name", "recipe", "integers"),
    [
        ("cip_dicom", COLIPRI, True),
        ("example_ras", COLIPRI, True),
        ("aorta_lps", COLIPRI, True),
        ("cip_dicom_float", COLIPRI, False),
        ("cip_dicom_1p5mm_crop160", SMALLER, True),
    ],
)
def test_colipri(golden_dir: Path, data_dir: Path, name: str, recipe: Recipe, integers: bool) -> None:
    golden = load_file(golden_dir / "encoders" / "colipri" / "preprocess_expected.safetensors")
    volume = scan(data_dir, next(known for known in SCANS if name.startswith(known)))
    if not integers:
        volume = replace(volume, array=volume.array.astype(np.float32))
    result = preprocess(volume, recipe)
    differences = samples(golden, name, result, "sub_1_2_3_4", (slice(1, None, 4), slice(2, None, 4), slice(3, None, 4)))
    assert result.shape == recipe.size
    least, largest, mean = golden[f"{name}.min_max_mean"].tolist()
    if integers:
        assert differences.max() <= WHOLE_HU
        assert (differences > 1e-6).mean() <= 0.02
        assert mean == pytest.approx(result.mean(dtype=np.float64), abs=2e-5)
    else:
        assert differences.max() <= 1e-6
        assert mean == pytest.approx(result.mean(dtype=np.float64), abs=1e-6)
    assert (least, largest) == (pytest.approx(result.min(), abs=WHOLE_HU), pytest.approx(result.max(), abs=WHOLE_HU))


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize(("chain", "recipe"), [("merlin", MERLIN), ("astra_chest", ASTRA_CHEST)])
def test_merlin_family(golden_dir: Path, data_dir: Path, name: str, chain: str, recipe: Recipe) -> None:
    golden = load_file(golden_dir / "encoders" / "merlin" / "preprocess_expected.safetensors")
    result = preprocess(scan(data_dir, name), recipe)
    differences = samples(golden, f"{name}.{chain}", result, "sub_6_6_5", (slice(1, None, 6), slice(2, None, 6), slice(1, None, 5)))
    assert differences.max() <= 2e-6
    expected = golden[f"{name}.{chain}.min_max_mean"]
    np.testing.assert_allclose([result.min(), result.max(), result.mean(dtype=np.float64)], expected, atol=2e-6)

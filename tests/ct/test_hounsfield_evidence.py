"""The landmarks of the Hounsfield scale on sketched histograms; real scans are in test_hounsfield.py."""

from __future__ import annotations

import numpy as np
import pytest

from thoracle.ct.hounsfield_evidence import Histogram, hounsfield_evidence
from thoracle.ct.stored import Rescale

CHEST = {-1000: 40, -850: 20, -350: 2, -100: 15, 40: 20, 300: 3}  # HU: percent
HEART = {-100: 15, 40: 80, 350: 5}


def sketch(parts, *, noise=15.0):
    """100,000 voxels, rounded."""
    rng = np.random.default_rng(0)
    voxels = np.concatenate([rng.normal(value, noise, share * 1000) for value, share in parts.items()])
    return np.rint(voxels).astype(np.int32).reshape(-1, 10, 10)


def evidence(voxels, slope=1.0, intercept=0.0):
    return hounsfield_evidence(Histogram.of(voxels), Rescale(slope=slope, intercept=intercept, source="test"))


def test_a_chest_is_told_by_gas_and_tissue():
    assert evidence(sketch(CHEST)) == "air or lung peaks at -1000 HU, tissue at 40 HU"


def test_a_heart_is_told_by_fat_and_muscle():
    assert evidence(sketch(HEART)) == "fat peaks at -100 HU, muscle at 40 HU, no air in the crop"


@pytest.mark.parametrize("parts", [CHEST, HEART])
@pytest.mark.parametrize("shift", [-8192, -2048, -1024, -1000, 1000, 1024, 2048, 8192])
def test_a_wrong_shift_has_no_landmarks(parts, shift):
    assert evidence(sketch(parts) + shift) is None
    assert evidence(sketch(parts) - shift, intercept=shift)


def test_the_sign_of_the_slope_counts():
    assert evidence(-sketch(CHEST), slope=-1.0)
    assert evidence(sketch(CHEST), slope=-1.0) is None


@pytest.mark.parametrize("value", [-1500, -2000, -2048, -3024, -8192, -32768])
def test_padding_is_set_aside_and_said(value):
    padded = np.concatenate([sketch(CHEST), np.full((300, 10, 10), value)])
    assert evidence(padded).endswith(f"; 23% padding of {value} set aside")


def test_padding_with_a_fringe_is_set_aside():
    fringe = np.linspace(-2048, -1000, 3000).reshape(-1, 10, 10)  # what resampling makes of its edge
    assert "padding" in evidence(np.concatenate([sketch(CHEST), np.full((300, 10, 10), -2048), fringe]))


def test_padding_of_raw_numbers_is_not_air():
    raw = {value + 1024: share for value, share in {-850: 95, 40: 5}.items()}  # a crop of lung
    assert evidence(np.concatenate([sketch(raw), np.full((300, 10, 10), -1024)])) is None


def test_rescaled_twice_is_not_padding():
    air = np.full((400, 10, 10), -2048)  # clipped at -1024 before
    assert evidence(np.concatenate([air, sketch({-1874: 20, -1124: 30, -984: 50})])) is None


def test_a_window_is_not_a_scale():
    assert evidence(sketch(CHEST).clip(-160, 240)) is None


def test_a_sketch_without_noise_is_a_chest_too():
    assert evidence(sketch(CHEST, noise=0.0))


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "float32"])
def test_a_histogram_counts_every_value_of_whatever_type(kind: str) -> None:
    draw = np.random.default_rng(0)
    voxels = draw.integers(0 if kind.startswith("u") else -100, 100, (7, 8, 9)).astype(kind)
    if kind.endswith("16"):
        voxels[0, 0, :2] = np.iinfo(kind).min, np.iinfo(kind).max
    found = Histogram.of(voxels)
    values, counts = np.unique(voxels, return_counts=True)
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_allclose(found.shares, counts / voxels.size)

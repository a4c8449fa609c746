"""The landmarks of the Hounsfield scale on sketched histograms; real scans are in test_hounsfield.py."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

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


@pytest.mark.parametrize("values", [(-3024, -2000), (-8192, -2048), (-32768, -1500), (-2048, -2000)])
def test_units_two_paddings_are_set_aside(values):
    """A circle of reconstruction, and what a registration or a rotation put around it."""
    padded = np.concatenate([sketch(CHEST), np.full((300, 10, 10), values[0]), np.full((200, 10, 10), values[1])])
    assert evidence(padded).startswith("air or lung peaks at -1000 HU")
    assert str(values[0]) in evidence(padded)
    assert evidence(padded + 1024, intercept=-1024.0)


def test_units_two_paddings_do_not_hide_another_scale():
    padded = np.concatenate([sketch(CHEST), np.full((300, 10, 10), -3024), np.full((200, 10, 10), -2000)])
    for shift in (-2048, -1024, 1024, 2048):
        assert evidence(padded + shift) is None


@pytest.mark.parametrize("value", [-1500, -2000, -3024])
@pytest.mark.parametrize("zoom", [0.7, 1.3, 2.0])
def test_units_padding_blurred_by_cubic_resampling_is_set_aside(value, zoom):
    """A spline undershoots the padding by a tenth of the step and more, and oscillates on both sides of it."""
    x, y = np.ogrid[-1:1:120j, -1:1:120j]
    body, lung = (x / 0.8) ** 2 + (y / 0.6) ** 2 < 1, ((np.abs(x) - 0.4) / 0.2) ** 2 + (y / 0.4) ** 2 < 1
    plane = np.select([x * x + y * y > 1, lung, body], [value, -850.0, 40.0], -1000.0)
    blurred = np.repeat(ndimage.zoom(plane, zoom, order=3)[..., None], 10, axis=2)
    assert blurred.min() < value - 50
    assert "padding" in evidence(np.rint(blurred).astype(np.int16))
    assert evidence(np.rint(blurred).astype(np.int16) - 1024) is None


def test_units_padding_of_a_scale_that_is_halved_is_not_air():
    """-8192 and -2000 halved are -4096 and -1000, where air would be."""
    padded = np.concatenate([sketch(CHEST), np.full((200, 10, 10), -8192), np.full((200, 10, 10), -2000)])
    assert evidence(padded // 2) is None
    assert evidence(padded // 2, slope=2.0)


@pytest.mark.parametrize("values", [(-2048, -2000), (-2000, -2048), (-2000, -1500), (-8192, -2000)])
def test_units_paddings_of_a_halved_abdomen_are_not_its_air(values):
    """No lung between them says that the numbers are halved; air of a scan has noise, or lung beside it."""
    body = sketch({-100: 200, 40: 300})
    padded = np.concatenate([body, np.full((150, 10, 10), values[0]), np.full((100, 10, 10), values[1])])
    assert evidence(padded / 2) is None
    air = sketch({-1000: 200})
    assert evidence(np.concatenate([padded, air])) is not None
    assert evidence(np.concatenate([padded, air]) / 2, slope=2.0) is not None


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

"""One scan in any order is one array, and one that is turned is turned back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ct.geometry.affines import ORDERS, SHAPE, grid, orders, reordered, rotated, settled, spacings
from thoracle.ct.geometry.lps import AIR_HU, to_lps


@given(order=orders, spacing=spacings, offset=st.tuples(*[st.floats(-500, 500)] * 3))
def test_any_of_the_48_orders_and_flips_gives_the_same_array(
    order: tuple[Any, Any], spacing: tuple[float, ...], offset: tuple[float, ...]
) -> None:
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    turned, affine = reordered(array, grid(spacing, offset), *order)
    lps = to_lps(turned, settled(affine, shape=turned.shape))
    np.testing.assert_array_equal(lps.array, array)
    assert np.shares_memory(lps.array, array)
    assert lps.spacing == spacing
    np.testing.assert_allclose(lps.affine, grid(spacing, offset), atol=1e-9)
    assert lps.repaired == ()


def test_there_are_48() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    assert len({(t := reordered(array, np.eye(4), *order)[0]).shape + tuple(t.ravel()) for order in ORDERS}) == 48


@pytest.mark.parametrize(
    ("shear", "shape", "drift"),
    [
        (0.06, (64, 64, 30), 0.36),  # 0.34 degrees: 30 steps of 10 mm slide by 1.8 mm, 0.36 voxels of 5 mm
        (0.03, (64, 64, 30), 0.18),
        (0.03, (64, 64, 80), 0.48),
    ],
)
@pytest.mark.parametrize("along", [0, 1])
@pytest.mark.parametrize("order", [ORDERS[0], ORDERS[9], ORDERS[30], ORDERS[47]])
def test_a_drift_below_half_a_voxel_is_squared_and_said(
    shear: float, shape: tuple[int, int, int], drift: float, along: int, order: tuple[Any, Any]
) -> None:
    """The affine of ITK #3994: a hundredth of a step of 10 mm beside it."""
    affine = grid((5.0, 5.0, 10.0), (-160.0, -150.0, -700.0))
    affine[along, 2] = shear
    array = np.zeros(shape, np.int16)
    array[1, 2, 3] = 7
    turned, stored = reordered(array, affine, *order)
    lps = to_lps(turned, settled(stored, shape=turned.shape))
    np.testing.assert_array_equal(lps.array, array)
    np.testing.assert_allclose(lps.spacing, (5.0, 5.0, 10.0), rtol=1e-4)
    squared = [note for note in lps.repaired if "squared" in note]
    assert len(squared) == 1
    assert f"than {drift:.2f} voxels" in squared[0]
    centre = [*((np.array(shape) - 1) / 2), 1]
    np.testing.assert_allclose(lps.affine @ centre, affine @ centre, atol=1e-6)  # the middle stays where it is


@given(degrees=st.floats(0.001, 0.1), order=orders)
def test_a_turn_of_less_than_half_a_voxel_is_taken_as_aligned_and_said(degrees: float, order: tuple[Any, Any]) -> None:
    shape, spacing = (300, 300, 20), (0.7, 0.7, 1.25)
    array = np.zeros(shape, np.int16)
    array[3, 2, 1] = 7
    aligned = grid(spacing, (-100.0, -110.0, -900.0))
    turned, affine = reordered(array, rotated(aligned, shape, degrees, (0, 0, 1)), *order)
    lps = to_lps(turned, settled(affine, shape=turned.shape))
    np.testing.assert_array_equal(lps.array, array)
    assert lps.spacing == spacing
    np.testing.assert_allclose(lps.affine, aligned, atol=1e-6)
    moved = np.radians(degrees) * 299 / 2
    assert ("taken as aligned" in "".join(lps.repaired)) == (moved > 1e-3)


@settings(max_examples=40)
@given(
    degrees=st.floats(3, 29),
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda a: np.linalg.norm(a) > 0.1),
    order=orders,
)
def test_an_oblique_scan_is_resampled_and_said(degrees: float, axis: tuple[float, float, float], order: tuple[Any, Any]) -> None:
    """A field linear in millimetres is what linear resampling gives back exactly, at the same place in the patient."""
    shape, spacing = (24, 20, 16), (0.9, 1.1, 1.5)
    affine = rotated(grid(spacing, (-40.0, 30.0, -700.0)), shape, degrees, axis)
    field = np.array([2.0, -3.0, 1.5])
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    array = (points @ field + 1000).astype(np.float32)
    turned, stored = reordered(array, affine, *order)
    lps = to_lps(turned, settled(stored, shape=turned.shape))
    assert "resampled" in lps.repaired[0]
    assert lps.spacing == spacing
    assert lps.array.dtype == np.float32
    assert np.array_equal(lps.affine[:3, :3], np.diag(spacing))
    expected = (np.moveaxis(np.indices(lps.array.shape), 0, -1) * spacing + lps.affine[:3, 3]) @ field + 1000
    scanned = lps.array != AIR_HU
    assert scanned.mean() > 0.2
    np.testing.assert_allclose(lps.array[scanned], expected[scanned], atol=5e-3)
    assert scanned[tuple(n // 2 for n in scanned.shape)]


def test_oblique_integers_are_rounded_and_surrounded_by_air() -> None:
    array = np.full((40, 40, 40), 37, np.int16)
    lps = to_lps(array, settled(rotated(np.eye(4), array.shape, 20.0), shape=array.shape))
    assert lps.array.dtype == np.int16
    assert set(np.unique(lps.array)) == {AIR_HU, 37}
    assert min(lps.array.shape) >= 40
    assert (lps.array == 37).sum() == pytest.approx(39**3, rel=0.05)  # nothing of the scan is cut off

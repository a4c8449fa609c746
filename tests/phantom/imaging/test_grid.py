from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thoracle.phantom.imaging.grid import Field, VoxelGrid, soft


def _grid(spacing=3.0, roll=0.0, scale=(1.0, 1.0, 1.0), shape=(40, 44, 36), pitch=0.0):
    origin = tuple(-spacing * (n - 1) / 2 for n in shape)
    return VoxelGrid(shape=shape, spacing=(spacing,) * 3, origin=origin, scale=scale, roll=roll, pitch=pitch)


@given(
    roll=st.floats(-0.3, 0.3),
    pitch=st.floats(-0.3, 0.3),
    scale=st.tuples(*[st.floats(0.8, 1.2)] * 3),
    at=st.tuples(st.integers(0, 39), st.integers(0, 43), st.integers(0, 35)),
)
@settings(max_examples=40, deadline=None)
def test_coordinates_and_indices_are_inverse(roll, pitch, scale, at):
    grid = _grid(roll=roll, scale=scale, pitch=pitch)
    x, y, z = np.broadcast_arrays(*grid.coordinates)
    found = grid.indices(np.array([[x[at], y[at], z[at]]], dtype=np.float32))
    assert found[0] == pytest.approx(at, abs=1e-2)


@given(roll=st.floats(-0.3, 0.3), pitch=st.floats(-0.3, 0.3), corner=st.tuples(*[st.floats(-50, 20)] * 3), size=st.floats(5, 40))
@settings(max_examples=40, deadline=None)
def test_a_box_holds_every_voxel_between_its_corners(roll, pitch, corner, size):
    grid = _grid(roll=roll, pitch=pitch)
    high = tuple(c + size for c in corner)
    outside = np.ones(grid.shape, dtype=bool)
    outside[grid.box(corner, high)] = False
    inside = np.ones(grid.shape, dtype=bool)
    for axis, low, top in zip(grid.coordinates, corner, high, strict=True):
        inside &= (axis >= low) & (axis <= top)
    assert not (outside & inside).any()


@pytest.mark.parametrize("pitch", [0.0, 0.1])
def test_slabs_are_the_grid_in_order(pitch):
    grid = _grid(roll=0.1, pitch=pitch)
    whole = np.broadcast_to(grid.coordinates[2], grid.shape)
    parts = [np.broadcast_to(grid.within(box).coordinates[2], grid.within(box).shape) for box in grid.slabs(40 * 44 * 5)]
    assert len(parts) == 8
    assert np.allclose(np.concatenate(parts, axis=2), whole, atol=1e-4)


def test_pitch_and_roll_turn_the_chest_and_stretch_nothing():
    """Canonical coordinates are a rotation of the scanner's: distances stay, a raised chest comes forward, a turned one sideways."""
    grid = _grid(roll=np.radians(10), pitch=np.radians(20))
    x, y, z = (axis.astype(float) for axis in np.broadcast_arrays(*grid.coordinates))
    for axis in range(3):
        steps = [np.diff(c, axis=axis) for c in (x, y, z)]
        assert np.hypot(np.hypot(steps[0], steps[1]), steps[2]) == pytest.approx(3.0, abs=1e-3)
    upper, left = grid.indices(np.array([[0, 0, 0], [0, 0, 30], [30, 0, 0]], dtype=np.float32))[1:] * 3 - 1.5 * (np.array(grid.shape) - 1)
    assert upper == pytest.approx((0, -30 * np.sin(np.radians(20)), 30 * np.cos(np.radians(20))), abs=1e-3)
    assert left[0] == pytest.approx(30 * np.cos(np.radians(10)), abs=1e-3)


@pytest.mark.parametrize("pitch", [0.0, 0.2])
def test_coordinates_of_some_voxels_are_those_of_the_grid(pitch):
    grid = _grid(roll=0.1, pitch=pitch)
    voxels = np.array([0, 35, 36, 12345, 40 * 44 * 36 - 1])
    for axis, of_voxels in zip(grid.coordinates, grid.at(voxels), strict=True):
        assert np.array_equal(np.broadcast_to(axis, grid.shape).ravel()[voxels], of_voxels)


def test_the_picture_is_round_and_ends_with_its_first_and_last_slice():
    grid = _grid(shape=(40, 40, 36))
    points = np.array([[0, 0, 0], [59, 0, 0], [44, 44, 0], [41, 41, 0], [0, 0, 53.8], [0, 0, 53], [0, 0, -55]], dtype=np.float32)
    assert grid.holds(points).tolist() == [True, True, False, True, True, True, False]
    assert grid.crossed.mean() == pytest.approx(np.pi / 4, abs=0.04)
    assert grid.holds(np.zeros((0, 3), dtype=np.float32)).tolist() == []


def test_a_field_goes_on_beyond_its_nodes():
    """Mirrored, so that it is as uneven there as inside."""
    far = VoxelGrid(shape=(20, 20, 30), spacing=(4.0,) * 3, origin=(0.0, 0.0, 200.0), scale=(1.0,) * 3, roll=0.0)
    assert Field.sample(np.random.default_rng(0), 12.0).on(far).std(axis=2).min() > 0.2


def test_a_field_is_the_same_on_every_grid():
    field = Field.sample(np.random.default_rng(0), 12.0)
    coarse, fine = field.on(_grid(4.0, shape=(21, 21, 21))), field.on(_grid(2.0, shape=(41, 41, 41)))
    assert np.allclose(coarse, fine[::2, ::2, ::2], atol=1e-4)
    assert abs(coarse.mean()) < 0.3
    assert 0.6 < fine.std() < 1.4


def test_soft_edges_keep_the_volume_of_a_ball():
    for spacing in (4.0, 2.0):
        x, y, z = _grid(spacing, shape=(30, 30, 30)).coordinates
        share = soft(np.sqrt((x - 0.7) ** 2 + (y + 0.3) ** 2 + z**2) - 15, spacing)
        assert share.sum() * spacing**3 == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.03)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thoracle.phantom.imaging.grid import Field, VoxelGrid, soft


def _grid(spacing=3.0, roll=0.0, scale=(1.0, 1.0, 1.0), shape=(40, 44, 36)):
    origin = tuple(-spacing * (n - 1) / 2 for n in shape)
    return VoxelGrid(shape=shape, spacing=(spacing,) * 3, origin=origin, scale=scale, roll=roll)


@given(
    roll=st.floats(-0.3, 0.3),
    scale=st.tuples(*[st.floats(0.8, 1.2)] * 3),
    at=st.tuples(st.integers(0, 39), st.integers(0, 43), st.integers(0, 35)),
)
@settings(max_examples=40, deadline=None)
def test_coordinates_and_indices_are_inverse(roll, scale, at):
    grid = _grid(roll=roll, scale=scale)
    x, y, z = np.broadcast_arrays(*grid.coordinates)
    found = grid.indices(np.array([[x[at], y[at], z[at]]], dtype=np.float32))
    assert found[0] == pytest.approx(at, abs=1e-2)


@given(roll=st.floats(-0.3, 0.3), corner=st.tuples(*[st.floats(-50, 20)] * 3), size=st.floats(5, 40))
@settings(max_examples=40, deadline=None)
def test_a_box_holds_every_voxel_between_its_corners(roll, corner, size):
    grid = _grid(roll=roll)
    high = tuple(c + size for c in corner)
    outside = np.ones(grid.shape, dtype=bool)
    outside[grid.box(corner, high)] = False
    inside = np.ones(grid.shape, dtype=bool)
    for axis, low, top in zip(grid.coordinates, corner, high, strict=True):
        inside &= (axis >= low) & (axis <= top)
    assert not (outside & inside).any()


def test_slabs_are_the_grid_in_order():
    grid = _grid(roll=0.1)
    whole = np.broadcast_to(grid.coordinates[2], grid.shape)
    parts = [np.broadcast_to(grid.within(box).coordinates[2], grid.within(box).shape) for box in grid.slabs(40 * 44 * 5)]
    assert len(parts) == 8
    assert np.allclose(np.concatenate(parts, axis=2), whole, atol=1e-4)


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

"""Tubes have the radius, the length and the volume that their millimetres say, on any grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thoracle.phantom.anatomy.tubes import deposit, filled, joined, path
from thoracle.phantom.imaging.grid import VoxelGrid


def _grid(spacing=3.0, scale=(1.0, 1.0, 1.0), roll=0.0, shape=(40, 44, 36)) -> VoxelGrid:
    origin = tuple(-spacing * (n - 1) / 2 for n in shape)
    return VoxelGrid(shape=shape, spacing=(spacing,) * 3, origin=origin, scale=scale, roll=roll)


def _on_grid(grid: VoxelGrid, tubes) -> np.ndarray:
    box, fraction = filled(grid, tubes)
    whole_grid = np.zeros(grid.shape, dtype=np.float32)
    whole_grid[box] = fraction
    return whole_grid


@given(radius=st.floats(0.4, 9), spacing=st.sampled_from((1.5, 3.0)), end=st.tuples(*[st.floats(-25, 25)] * 2))
@settings(max_examples=30, deadline=None)
def test_a_tube_fills_its_volume_however_thin(radius, spacing, end):
    tube = path([(0, 0, -15, radius), (*(0.3 * e for e in end), 15, radius)])
    length = float(np.linalg.norm(tube.end - tube.start))
    _, fraction = filled(_grid(spacing, shape=(60, 60, 50)), tube)
    assert fraction.sum() * spacing**3 == pytest.approx(np.pi * radius**2 * length, rel=0.17)


@pytest.mark.parametrize("radius", [4.0, 8.0])
def test_a_tube_is_as_wide_and_as_long_as_it_says(radius):
    grid = _grid(1.0, shape=(40, 40, 50))
    fraction = _on_grid(grid, path([(2, -3, -15, radius), (2, -3, 15, radius)]))
    x, y, z = np.broadcast_arrays(*grid.coordinates)
    away = np.hypot(x - 2, y + 3)
    assert fraction[(away < radius - 1.5) & (np.abs(z) < 13.5)].min() > 0.9
    assert fraction[(away > radius + 1.5) | (np.abs(z) > 16.5)].max() == 0
    assert fraction[:, :, 25].sum() == pytest.approx(np.pi * radius**2, rel=0.1), "its cross-section, square mm"
    assert np.count_nonzero(fraction.max(axis=(0, 1)) > 0.5) == pytest.approx(30, abs=1), "its length, mm"


def test_a_tube_tapers_from_its_first_to_its_last_radius():
    fraction = _on_grid(_grid(1.0, shape=(40, 40, 50)), path([(0, 0, -20, 8), (0, 0, 20, 3)]))
    radii = np.sqrt(fraction.sum(axis=(0, 1)) / np.pi)
    heights = np.arange(50) - 24.5
    inner = np.abs(heights) < 18
    assert radii[inner] == pytest.approx(np.interp(heights[inner], (-20, 20), (8, 3)), rel=0.1)


@pytest.mark.parametrize("scale", [(1.0, 1.0, 1.0), (1.2, 0.9, 1.1)])
def test_a_tube_belongs_to_the_person_not_to_the_grid(scale):
    """Its canonical volume is the same in a larger person, turned on the table."""
    grid = _grid(1.5, scale=scale, roll=0.1, shape=(60, 60, 60))
    _, fraction = filled(grid, path([(-8, 4, -15, 5), (6, -4, 15, 5)]))
    length = np.sqrt(14**2 + 8**2 + 30**2)
    assert fraction.sum() * grid.voxel == pytest.approx(np.pi * 25 * length, rel=0.1)


def test_fractions_are_between_nought_and_all_of_a_voxel_where_tubes_cross():
    cross = joined(path([(-20, 0, 0, 6), (20, 0, 0, 6)]), path([(0, -20, 0, 6), (0, 20, 0, 6)]))
    fraction = _on_grid(_grid(2.0), cross)
    assert fraction.min() == 0
    assert fraction.max() == 1


def test_a_path_goes_through_its_stations_and_joined_tubes_keep_their_pieces():
    first, second = path([(0, 0, 0, 1), (1, 2, 3, 2), (4, 4, 4, 3)]), path([(9, 9, 9, 5), (8, 8, 8, 6)])
    assert first.start.tolist() == [[0, 0, 0], [1, 2, 3]]
    assert first.end.tolist() == [[1, 2, 3], [4, 4, 4]]
    assert (first.first.tolist(), first.last.tolist()) == ([1, 2], [2, 3])
    both = joined(first, second)
    assert len(both) == 3
    assert both.chosen(np.array([False, False, True])).end.tolist() == [[8, 8, 8]]
    assert both.resized(2.0, plus=0.5).last.tolist() == [4.5, 6.5, 12.5]
    assert both.resized(2.0).start.tolist() == both.start.tolist()


def test_a_tube_elsewhere_fills_nothing():
    grid = _grid()
    box, fraction = filled(grid, path([(0, 0, 500, 3), (0, 0, 520, 3)]))
    assert fraction.size == 0
    assert np.zeros(grid.shape)[box].size == 0


def test_a_points_volume_goes_to_the_eight_voxels_around_it_by_distance():
    """Linear weights, by hand: a quarter of the way along x, on the voxel along y, halfway along z."""
    grid = _grid(2.0, shape=(5, 5, 5))  # voxels at -4, -2, 0, 2, 4 mm
    box, fraction = deposit(grid, np.array([[0.5, 2.0, -1.0]], dtype=np.float32), np.array([4.0], dtype=np.float32))
    whole_grid = np.zeros(grid.shape)
    whole_grid[box] = fraction
    expected = np.zeros(grid.shape)
    expected[2, 3, 1:3], expected[3, 3, 1:3] = 4 / 8 * 0.75 * 0.5, 4 / 8 * 0.25 * 0.5
    assert whole_grid == pytest.approx(expected, abs=1e-6)


def test_a_point_outside_the_grid_leaves_nothing_in_it():
    _, fraction = deposit(_grid(2.0, shape=(5, 5, 5)), np.array([[50.0, 0, 0]], dtype=np.float32), np.array([8.0], dtype=np.float32))
    assert fraction.size == 0

"""Surfaces of the chest as an atlas has them: millimetres, negative inside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from thoracle.phantom.anatomy.patient import sample_patient
from thoracle.phantom.anatomy.thorax import APEX, LOBES, Thorax


def _thorax(seed: int = 0, *, heart: float = 1.0, **habitus) -> Thorax:
    patient = replace(sample_patient(np.random.default_rng(seed)), inspiration=0.0, lumps=())
    return Thorax(patient=replace(patient, **habitus), heart=heart)


def _points(*rows: tuple[float, float, float]) -> tuple[np.ndarray, ...]:
    return tuple(np.array(rows, dtype=np.float32).T)


def _random_points(count: int = 40_000) -> tuple[np.ndarray, ...]:
    low, high = np.array([-180, -140, -180]), np.array([180, 140, 140])
    return tuple((low + (high - low) * np.random.default_rng(0).random((count, 3))).astype(np.float32).T)


@pytest.mark.parametrize("surface", ["cavity", "heart_surface", "body", "lung"])
def test_distances_are_millimetres_and_negative_inside(surface):
    """Over a step of 1 mm a distance changes by about 1 mm, and the middle of every organ is inside it."""
    distance = getattr(_thorax(), surface)
    inside = {"cavity": (0, 0, -20), "heart_surface": (22, -24, -54), "body": (0, 0, 0), "lung": (-70, 0, 20)}[surface]
    assert distance(*_points(inside))[0] < -10
    assert distance(*_points((250, 0, 0)))[0] > 60
    x, y, z = _random_points()
    near = np.abs(distance(x, y, z)) < 5
    slopes = [(distance(x + dx, y + dy, z + dz) - distance(x - dx, y - dy, z - dz)) / 2 for dx, dy, dz in np.eye(3, dtype=np.float32)]
    assert np.median(np.sqrt(sum(s**2 for s in slopes))[near]) == pytest.approx(1, abs=0.25)


def test_surfaces_take_the_axes_of_a_grid_as_they_take_points():
    thorax = _thorax(3)
    x, y, z = (np.linspace(-80, 80, n, dtype=np.float32) for n in (5, 6, 7))
    axes = x[:, None, None], y[None, :, None], z[None, None, :]
    for surface in (thorax.cavity, thorax.heart_surface, thorax.lung, thorax.body, thorax.lobe_index):
        on_grid = surface(*axes)
        assert on_grid.shape == (5, 6, 7)
        assert on_grid[4, 3, 2] == pytest.approx(surface(x[4:], y[3:4], z[2:3])[0])


def test_lungs_leave_room_for_heart_spine_aorta_mediastinum_and_abdomen():
    organs = _points((22, -24, -54), (0, 66, 0), (25, 50, 0), (0, 14, 60), (-60, -8, -120), (0, 0, APEX + 5))
    assert (_thorax().lung(*organs) > 2).all()
    assert (_thorax().lung(*_points((-70, 10, 20), (70, 10, 20), (-80, 50, -60), (80, 50, -60))) < -5).all()


def test_lobes_lie_as_in_an_atlas():
    """Upper lobes above and in front of the oblique fissure, the middle lobe right alone, below the horizontal one."""
    where = {
        "right upper lobe": (-60, -20, 50),
        "right middle lobe": (-60, -50, -45),
        "right lower lobe": (-60, 60, -40),
        "left upper lobe": (60, -20, 50),
        "left lower lobe": (60, 60, -40),
    }
    thorax = _thorax()
    assert [LOBES[i] for i in thorax.lobe_index(*_points(*where.values()))] == list(where)
    assert LOBES[thorax.lobe_index(*_points((60, -50, -45)))[0]] == "left upper lobe", "the left lung has no middle lobe"


def test_a_fissure_is_where_its_height_is_nought():
    thorax = _thorax()
    x, y, z = _random_points(4000)
    oblique, horizontal = thorax.lobe(x, y, z)
    names = np.array(LOBES)[thorax.lobe_index(x, y, z)]
    assert set(names[oblique < 0]) == {"right lower lobe", "left lower lobe"}
    assert set(names[(oblique > 0) & (horizontal < 0) & (x < 3)]) == {"right middle lobe"}
    assert set(names[(oblique > 0) & (horizontal > 0) & (x < 3)]) == {"right upper lobe"}


def test_the_size_of_a_heart_is_a_factor_of_its_lengths():
    """`heart` is a factor of lengths: a heart of 1.2 has 1.2 cubed times the volume."""
    x, y, z = _random_points(200_000)
    plain, large = (np.count_nonzero(_thorax(heart=size).heart_surface(x, y, z) < 0) for size in (1.0, 1.2))
    assert large / plain == pytest.approx(1.2**3, rel=0.08)


def test_breath_lowers_the_diaphragm_and_leaves_the_apex():
    heights = [float(_thorax(inspiration=breath).diaphragm(np.float32(-62), np.float32(-8))) for breath in (-1.0, 0.0, 1.0)]
    assert heights[0] > heights[1] + 8 > heights[2] + 16
    apex = [float(_thorax(inspiration=breath).lung(*_points((-45, 22, APEX + 1)))[0]) for breath in (-1.0, 1.0)]
    assert min(apex) > 0


def test_the_front_of_ribs_and_skin_is_where_their_surfaces_are_nought():
    thorax = _thorax(fat=20.0)
    for height in (-60.0, 0.0, 40.0):
        assert thorax.cavity(*_points((0, thorax.front(height), height)))[0] == pytest.approx(0, abs=0.1)
    edges = _points((0, thorax.skin_before(), -40), (0, thorax.skin_behind(), -40))
    assert thorax.body(*edges) == pytest.approx([0, 0], abs=0.1)
    assert thorax.skin_before() < thorax.front(0.0) - 15, "fat and muscle before the ribs"


def test_fat_is_as_thick_as_the_patients_and_thicker_at_the_front_than_behind():
    thorax = _thorax(fat=20.0)
    turn = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    thickness = thorax.wall(np.cos(turn), np.sin(turn))
    assert thickness.mean() == pytest.approx(20, rel=0.01)
    assert thorax.wall(np.float32(0), np.float32(-1)) > thorax.wall(np.float32(0), np.float32(1))


@pytest.mark.parametrize("sex", ["F", "M"])
def test_bounds_hold_the_body(sex, painted):
    picture = next(picture for picture in map(painted, range(8)) if picture.scene.thorax.patient.sex == sex)
    thorax, (x, y, z) = picture.scene.thorax, picture.grid.coordinates
    (left, front, _), (right, back, _) = thorax.bounds
    outside = (x < left) | (x > right) | (y < front) | (y > back)
    assert not ((thorax.body(x, y, z) < 0) & outside).any()
    assert right - left < 1.6 * np.ptp(np.broadcast_to(x, picture.grid.shape)[thorax.body(x, y, z) < 0]), "and not much more"

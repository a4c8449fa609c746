from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from thoracle.phantom.anatomy.soft_tissue import ESOPHAGUS
from thoracle.phantom.anatomy.tubes import filled
from thoracle.phantom.findings.devices import sample_material

_KINDS = (
    "pacemaker",
    "central venous port",
    "sternal wires",
    "prosthetic heart valve",
    "nasogastric tube",
    "spinal fixation screws",
)


@pytest.fixture(scope="module")
def devices(chest):
    """Two devices of each kind, painted: (finding, canvas, mask, change, canonical points of the mask)."""
    painted = {kind: [] for kind in _KINDS}
    for seed in range(120):
        finding = sample_material(np.random.default_rng([24, seed]), chest.site)
        if len(painted[finding.kind]) < 2:
            canvas, mask, change = chest.painted(finding)
            points = np.stack([axis[mask] for axis in np.broadcast_arrays(*canvas.grid.coordinates)], axis=1)
            painted[finding.kind].append((finding, canvas, mask, change, points))
    return painted


@cache
def _kinds_of(site, count: int = 400) -> list[str]:
    return [sample_material(np.random.default_rng([25, seed]), site).kind for seed in range(count)]


def test_every_device_comes_and_none_is_rare(chest):
    kinds = _kinds_of(chest.site)
    assert set(kinds) == set(_KINDS)
    assert min(kinds.count(kind) for kind in _KINDS) > 20


@pytest.mark.parametrize("kind", _KINDS)
def test_a_device_changes_its_mask_alone_and_is_bright(kind, devices):
    for _, canvas, mask, change, _ in devices[kind]:
        assert np.abs(change[~binary_dilation(mask)]).max() < 250
        floor = 200 if kind == "nasogastric tube" else 600
        assert floor < canvas.hu[mask].max() <= 3071
        assert np.mean(change[mask] > 0) > 0.9


def test_metal_is_brighter_than_plastic(devices):
    brightest = {kind: max(canvas.hu[mask].max() for _, canvas, mask, _, _ in devices[kind]) for kind in _KINDS}
    assert brightest["nasogastric tube"] < 1000 < brightest["pacemaker"]
    assert brightest["spinal fixation screws"] > 1300


def test_only_what_lies_on_one_side_has_a_side_and_it_is_that_of_its_can(devices):
    """The can of a pacemaker or port lies under the collar bone of its side, in front of the ribs."""
    for kind, painted in devices.items():
        for finding, canvas, _, _, points in painted:
            if kind not in ("pacemaker", "central venous port"):
                assert finding.side is None
                continue
            sign = {"left": 1, "right": -1}[finding.side]
            outside = canvas.thorax.cavity(*points.T) > 3
            can = points[outside & (points[:, 2] < 75)]
            assert len(can)
            assert np.mean(sign * can[:, 0] > 30) > 0.9
            assert np.sign(finding.centre[0]) == sign


def test_both_sides_come(chest):
    sides = {sample_material(np.random.default_rng([25, seed]), chest.site).side for seed in range(60)}
    assert sides == {"left", "right", None}


def test_leads_end_in_the_heart(devices):
    for finding, canvas, _, _, points in devices["pacemaker"]:
        surface = canvas.thorax.heart_surface(*points.T)
        assert np.count_nonzero(surface < -4) >= 3, finding.centre


def test_sternal_wires_go_round_the_breastbone(devices):
    for _, canvas, _, _, points in devices["sternal wires"]:
        front = np.array([canvas.thorax.front(float(z)) for z in points[:, 2]])
        assert np.abs(points[:, 0]).max() < 26
        assert np.abs(points[:, 1] - front + 5.5).max() < 18


def test_a_valve_lies_in_the_heart(devices):
    for _, canvas, _, _, points in devices["prosthetic heart valve"]:
        assert np.mean(canvas.thorax.heart_surface(*points.T) < 6) > 0.8


def test_a_gastric_tube_lies_in_the_oesophagus(devices):
    for _, canvas, mask, _, _ in devices["nasogastric tube"]:
        box, inside = filled(canvas.grid, ESOPHAGUS)
        esophagus = np.zeros(mask.shape, dtype=bool)
        esophagus[box] = inside > 0
        assert not (mask & ~binary_dilation(esophagus)).any()


def test_screws_go_through_vertebrae_from_behind(devices):
    for _, _, _, _, points in devices["spinal fixation screws"]:
        assert np.abs(points[:, 0]).max() < 28
        assert points[:, 1].min() > 52
        assert points[:, 1].max() > 105


def test_the_same_seed_draws_the_same_device(chest):
    pictures = [chest.painted(sample_material(np.random.default_rng(seed), chest.site))[0].hu for seed in (5, 5, 6)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])

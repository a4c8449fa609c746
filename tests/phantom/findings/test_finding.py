from __future__ import annotations

import numpy as np
import pytest

from thoracle.phantom.anatomy.thorax import LOBES
from thoracle.phantom.findings import SAMPLERS
from thoracle.phantom.findings.finding import FindingGenerator, at, ellipsoid, lobes_of, lognormal_radii, severity_of, side_of
from thoracle.phantom.imaging.grid import Field
from thoracle.types import ABNORMALITIES


def test_severity_rises_with_extent():
    words = [severity_of(fraction) for fraction in np.linspace(0, 1, 101)]
    assert words[0] == "mild"
    assert words[-1] == "severe"
    order = {"mild": 0, "moderate": 1, "severe": 2}
    assert [order[word] for word in words] == sorted(order[word] for word in words)
    assert min(words.count(word) for word in order) >= 20, "none of the three is rare"


@pytest.mark.parametrize(
    ("indices", "side"),
    [((0, 1, 2), "right"), ((1,), "right"), ((3, 4), "left"), ((2, 4), "bilateral"), ((0, 3), "bilateral")],
)
def test_the_side_of_lobes_is_in_their_names(indices, side):
    assert side_of(LOBES[i] for i in indices) == side


def test_lobes_of_points_are_those_of_the_chest_each_once_in_order(chest):
    places = {"left lower lobe": (60, 60, -40), "right upper lobe": (-60, -20, 50), "right middle lobe": (-60, -50, -45)}
    points = np.array([*places.values(), *places.values()], dtype=np.float32)
    assert lobes_of(chest.site.thorax, points) == tuple(name for name in LOBES if name in places)


def test_a_finding_with_lobes_is_painted_there_alone_and_leaves_the_lung_elsewhere_as_it_was(chest):
    """A painter that fills all lung fills that of its lobes."""

    def fill(canvas):
        canvas.paint(canvas.lung, 30.0)
        canvas.mark("Consolidation", canvas.lung)
        canvas.lung[...] *= 0.25

    lobes = ("right middle lobe", "left lower lobe")
    finding = FindingGenerator(abnormality="Consolidation", severity="severe", side=side_of(lobes), lobes=lobes, painter=fill)
    canvas, mask, change = chest.painted(finding)
    inside = np.isin(canvas.thorax.lobe_index(*canvas.grid.coordinates), [LOBES.index(name) for name in lobes])
    assert np.array_equal(mask, inside & (chest.canvas.lung > 0.4))
    assert not change[~inside].any()
    assert np.array_equal(canvas.lung[~inside], chest.canvas.lung[~inside])
    assert np.array_equal(canvas.lung[inside], chest.canvas.lung[inside] * np.float32(0.25))
    assert np.array_equal(canvas.hull, chest.canvas.hull)


def test_a_point_is_three_plain_numbers():
    assert at(np.array([1.5, -2.0, 3.0], dtype=np.float32)) == (1.5, -2.0, 3.0)
    assert {type(number) for number in at(np.zeros(3, dtype=np.float32))} == {float}


def test_an_ellipsoid_has_its_radii_and_its_volume(chest):
    centre, radii = np.array([-60.0, 10, 0], dtype=np.float32), np.array([30.0, 20, 25], dtype=np.float32)
    distance = ellipsoid(chest.canvas, centre, radii)
    x, y, z = np.broadcast_arrays(*chest.canvas.grid.coordinates)
    outside = ((x - centre[0]) / 30) ** 2 + ((y - centre[1]) / 20) ** 2 + ((z - centre[2]) / 25) ** 2 > 1
    assert np.array_equal(distance > 0, outside)
    volume = np.count_nonzero(distance < 0) * chest.canvas.grid.voxel
    assert volume == pytest.approx(4 / 3 * np.pi * 30 * 20 * 25, rel=0.03)
    assert distance.min() == pytest.approx(-20, abs=3), "the smallest radius, mm deep"


def test_a_rough_ellipsoid_is_uneven_by_its_millimetres(chest):
    centre, radii = np.array([-60.0, 10, 0], dtype=np.float32), np.array([30.0, 30, 30], dtype=np.float32)
    even = ellipsoid(chest.canvas, centre, radii)
    rough = ellipsoid(chest.canvas, centre, radii, rough=Field.sample(np.random.default_rng(0), 10), amount=4.0)
    assert (rough - even).std() == pytest.approx(4, rel=0.35)


def test_radii_lie_around_one_and_spread_with_it():
    drawn = np.stack([lognormal_radii(np.random.default_rng(i), 12.0, 0.2) for i in range(500)])
    assert np.exp(np.log(drawn).mean()) == pytest.approx(12, rel=0.03)
    assert np.log(drawn).std() == pytest.approx(0.2, rel=0.06)
    assert not lognormal_radii(np.random.default_rng(0), 12.0, 0.0).std()


def test_lengths_are_the_persons(make_site):
    """A person of 90% of the canonical chest has findings of 90% of the canonical size."""
    site = make_site(3)
    assert site.millimetres(100.0) == pytest.approx(100 * sum(site.thorax.patient.scale) / 3)


def test_every_finding_says_what_it_is_and_marks_that(chest):
    for name in ABNORMALITIES:
        finding = SAMPLERS[name](np.random.default_rng([2, ABNORMALITIES.index(name)]), chest.site)
        assert finding.abnormality == name
        canvas, mask, _ = chest.painted(finding)
        assert mask.any()
        assert np.array_equal(canvas.mask != 0, mask)

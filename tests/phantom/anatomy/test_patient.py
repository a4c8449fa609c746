from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from thoracle.phantom.anatomy.patient import sample_patient, sample_visit
from thoracle.phantom.imaging.scene import paint, sample_scene


@pytest.fixture(scope="module")
def people():
    return [sample_patient(np.random.default_rng([1, i])) for i in range(500)]


def test_people_differ_in_all_that_they_differ_in(people):
    assert np.mean([p.sex == "F" for p in people]) == pytest.approx(0.42, abs=0.08)
    assert np.percentile([p.age for p in people], (5, 95)) == pytest.approx((24, 80), abs=6)
    assert np.mean([p.contrast for p in people]) == pytest.approx(0.3, abs=0.07)
    low, high = np.percentile([p.fat for p in people], (5, 95))
    assert high > 4 * low, "habitus"
    height = np.array([p.scale[2] for p in people])
    assert height[[p.sex == "M" for p in people]].mean() > height[[p.sex == "F" for p in people]].mean() + 0.04
    assert np.std([np.degrees(p.roll) for p in people]) == pytest.approx(2.6, abs=0.4)
    assert np.mean([p.inspiration < -0.3 for p in people]) > 0.1 < np.mean([p.inspiration > 0.6 for p in people])


def test_a_person_comes_back_older_in_another_position_and_is_the_same(people):
    for n, person in enumerate(people[:50]):
        later = sample_visit(np.random.default_rng([2, n]), person)
        assert (later.sex, later.scale, later.marrow_hu) == (person.sex, person.scale, person.marrow_hu)
        assert later.age >= person.age
        assert (later.roll, later.inspiration, later.shift) != (person.roll, person.inspiration, person.shift)


def _scanned(patient, coarse_grid):
    draws = {name: np.random.default_rng([3, n]) for n, name in enumerate(("anatomy", "visit"))}
    scene = sample_scene(patient, (), **draws, finding=lambda _: np.random.default_rng(0), finest=4.0)
    grid = coarse_grid(scene)
    return scene, grid, paint(scene, grid)[0]


def test_breath_opens_the_lungs_fat_widens_the_body_and_roll_turns_it(people, coarse_grid):
    person = replace(people[0], sex="M", roll=0.0, inspiration=0.0, fat=10.0)
    volumes, densities = [], []
    for breath in (-1.0, 1.0):
        scene, grid, hu = _scanned(replace(person, inspiration=breath), coarse_grid)
        lung = scene.thorax.lung(*grid.coordinates) < -4
        volumes.append(np.count_nonzero(lung))
        densities.append(np.median(hu[lung]))
    assert volumes[1] > 1.1 * volumes[0]
    assert densities[1] < densities[0] - 30
    thin, broad = (np.count_nonzero(_scanned(replace(person, fat=fat), coarse_grid)[2] > -300) for fat in (8.0, 30.0))
    assert broad > 1.2 * thin
    scene, grid, hu = _scanned(replace(person, roll=float(np.radians(8))), coarse_grid)
    i, _, _ = np.nonzero((hu > 250) & (np.hypot(grid.coordinates[0], grid.coordinates[1] - 80) < 40))
    assert abs(grid.axes[0][i].mean()) > 6, "the spine is no longer below the middle"

"""Where an atlas has an organ, a healthy phantom has its tissue."""

from __future__ import annotations

import numpy as np
import pytest


def _at(picture, *point: float) -> float:
    """HU around canonical millimetres: the median of 3 x 3 x 3 voxels."""
    i, j, k = np.rint(picture.grid.indices(np.array([point], dtype=np.float32))[0]).astype(int)
    return float(np.median(picture.hu[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2]))


def test_fat_lies_under_the_skin_and_muscle_under_the_fat(painted):
    people = [picture for picture in map(painted, range(8)) if picture.scene.thorax.patient.fat > 12]
    assert len(people) > 2
    for picture in people:
        thorax, (x, y, z) = picture.scene.thorax, picture.grid.coordinates
        skin, low = np.broadcast_arrays(thorax.body(x, y, z), (z > -90) & (z < 10))
        assert np.median(picture.hu[low & (skin > 12) & (y < 0)]) < -900, "air around"
        fat = low & (skin < -4) & (skin + thorax.wall(x, y) > 4)
        assert np.median(picture.hu[fat]) == pytest.approx(thorax.patient.fat_hu, abs=20)
        muscle = low & (skin + thorax.wall(x, y) < -0.6 * thorax.patient.muscle_bulk) & (thorax.cavity(x, y, z) > 12)
        assert np.percentile(picture.hu[muscle], 75) == pytest.approx(thorax.patient.muscle_hu, abs=25)


def test_heart_aorta_and_oesophagus_are_where_they_belong(seed, painted):
    picture = painted(seed)
    patient, thorax, (x, y, z) = picture.scene.thorax.patient, picture.scene.thorax, picture.grid.coordinates
    assert _at(picture, 25, 50, 0) == pytest.approx(patient.artery_hu, abs=25), "descending aorta"
    assert _at(picture, -14, -30, 0) == pytest.approx(patient.artery_hu, abs=25), "ascending aorta"
    assert _at(picture, 4, 33.5, -20) == pytest.approx(patient.muscle_hu, abs=45), "oesophagus"
    heart = thorax.heart_surface(x, y, z) < -8
    assert patient.muscle_hu - 40 < np.median(picture.hu[heart]) < max(patient.muscle_hu, patient.vein_hu, patient.artery_hu) + 20


def test_the_liver_is_under_the_diaphragm_and_lung_above_it(seed, painted):
    picture = painted(seed)
    thorax = picture.scene.thorax
    dome = float(thorax.diaphragm(np.float32(-70), np.float32(-8)))
    assert _at(picture, -70, -8, dome + 14) < -600
    liver = thorax.patient.liver_hu + 0.25 * (thorax.patient.vein_hu - 42)
    assert _at(picture, -70, -8, dome - 20) == pytest.approx(liver, abs=20)

from __future__ import annotations

import numpy as np
import pytest

from thoracle.phantom.anatomy.thorax import LOBES


def _where(picture):
    x, y, z = np.broadcast_arrays(*picture.grid.coordinates)
    return x, y, z, picture.scene.thorax.lung(x, y, z) < -8


def test_every_lobe_is_lung_and_the_right_is_the_larger(seed, painted):
    picture = painted(seed)
    x, y, z, lung = _where(picture)
    lobe = picture.scene.thorax.lobe_index(x, y, z)
    litres = np.array([np.count_nonzero(lung & (lobe == i)) * 0.064e-3 for i in range(len(LOBES))])
    assert litres.min() > 0.1
    assert 1 < litres[:3].sum() / litres[3:].sum() < 1.7
    assert 2 < litres.sum() < 7.5
    assert all(-1000 < np.median(picture.hu[lung & (lobe == i)]) < -700 for i in range(len(LOBES)))


def test_fissures_are_denser_than_the_lung_beside_them(seed, painted):
    picture = painted(seed)
    x, y, z, lung = _where(picture)
    oblique, horizontal = picture.scene.thorax.lobe(x, y, z)
    for side, height in (("left", np.where(x > 3, oblique, 99)), ("right", np.where((x < 3) & (oblique > 12), horizontal, 99))):
        on, beside = lung & (np.abs(height) < 1.5), lung & (np.abs(np.abs(height) - 10) < 2)
        assert np.median(picture.hu[on]) > np.median(picture.hu[beside]) + 20, side


def test_the_windpipe_and_main_bronchi_are_open(seed, painted):
    picture = painted(seed)
    for place in ((-0.5, 14, 60), (-0.3, 14, 20), (26, 15, -18)):
        i, j, k = np.rint(picture.grid.indices(np.array([place], dtype=np.float32))[0]).astype(int)
        assert picture.hu[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2].min() < -700, place


def test_lung_is_denser_below_in_who_lies_on_the_back(seed, painted):
    picture = painted(seed)
    _, y, _, lung = _where(picture)
    gradient = picture.scene.thorax.patient.lung_gradient
    found = np.median(picture.hu[lung & (y > 45)]) - np.median(picture.hu[lung & (y < -25)])
    assert found == pytest.approx(gradient, abs=0.5 * gradient + 35)

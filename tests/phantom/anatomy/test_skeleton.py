from __future__ import annotations

import numpy as np


def test_ribs_come_one_after_the_other_and_reach_around(seed, painted):
    """In the rib cage's shell, on either side, at the height of the heart: bone, gap, bone."""
    picture = painted(seed)
    x, y, z = picture.grid.coordinates
    shell = np.abs(picture.scene.thorax.cavity(x, y, z) - 5.5) < 3
    for side in (-1, 1):
        beside = shell & (side * x > 60) & (np.abs(y - 8) < 8)
        profile = [picture.hu[:, :, k][beside[:, :, k]].max() for k in range(picture.grid.shape[2]) if beside[:, :, k].any()]
        bone = np.array(profile) > 150
        assert 5 <= np.count_nonzero(bone[1:] & ~bone[:-1]) <= 12
        assert (~bone).any()


def test_the_spine_is_vertebrae_and_discs_before_a_canal(seed, painted):
    picture = painted(seed)
    x, y, z = picture.grid.coordinates
    middle = np.broadcast_to((np.hypot(x, y - 66) < 10) & (np.abs(z) < 92), picture.grid.shape)
    across = np.broadcast_to(np.abs(z / 23 - np.floor(z / 23) - 0.5) * 23, picture.grid.shape)
    assert picture.hu[middle & (across < 6)].mean() > picture.hu[middle & (across > 10)].mean() + 20
    canal = np.broadcast_to(np.hypot(x, y - 91) < 5, picture.grid.shape)
    assert np.median(picture.hu[canal]) < 90
    arch = np.broadcast_to((np.abs(np.hypot(x, y - 91) - 12) < 2) & (across < 6) & (y > 91), picture.grid.shape)
    assert np.median(picture.hu[arch]) > 100


def test_breastbone_clavicles_and_shoulder_blades_are_bone(seed, painted):
    picture = painted(seed)
    places = {"breastbone": (0, picture.scene.thorax.front(0.0) - 5.5, 0), "clavicle": (-60, -64, 88), "blade": (106, 92, 58)}
    for name, place in places.items():
        i, j, k = np.rint(picture.grid.indices(np.array([place], dtype=np.float32))[0]).astype(int)
        assert picture.hu[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2].max() > 140, name

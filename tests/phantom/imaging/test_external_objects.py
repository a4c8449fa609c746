from __future__ import annotations

import numpy as np


def test_everybody_lies_on_a_table_that_is_square_to_the_scanner(painted):
    for seed in range(6):
        picture = painted(seed)
        _, v, _ = picture.grid.axes
        back = picture.scene.thorax.skin_behind() * picture.grid.scale[1]
        columns = np.abs(picture.grid.axes[0]) < 60
        below = picture.hu[columns][:, v > back + 12]
        assert (below.max(axis=1) > -960).mean() > 0.95, "something under every column"
        assert np.ptp(np.percentile(below, 90, axis=(0, 1))) < 120, "the same in every slice"


def test_what_lies_around_has_no_mask_and_never_enters_the_body(painted):
    for seed in range(6):
        picture = painted(seed)
        assert not picture.mask.any()
        x, y, z = picture.grid.coordinates
        metal = (picture.hu > 1300) & (picture.scene.thorax.body(x, y, z) < -6)
        assert not metal.any()

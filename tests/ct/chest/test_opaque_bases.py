"""The box of the lungs holds collapsed lung behind and below, whose extent ribs and its density tell, and no fluid."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ct.sketches import BODY, sketch, volume
from thoracle.ct.chest.quality import assess

EXTENT = (400, 300, 280)
#: In a chest from -132 to 132 mm across, -82 to 82 deep, -100 to 100 high: opaque lung or fluid, 18 mm of it behind or 16 below.
BELOW, RIGHT = ((0, 0, -100), (400, 300, 16), 45), ((-75, 80, -100), (90, 120, 90), 45)


@pytest.mark.parametrize(
    ("behind_hu", "organs", "back"),
    [
        pytest.param(-850, [], 82, id="open bases"),
        pytest.param(-850, [RIGHT], 82, id="one opaque"),
        pytest.param(45, [BELOW], 82, id="both opaque"),
        pytest.param(8, [], 64, id="fluid behind"),
    ],
)
def test_opaque_lung_is_in_the_box_and_fluid_is_not(behind_hu, organs, back):
    ribs, chest, between = ((0, 0, 0), (140, 90, 1e9), 300), ((0, 0, 0), (132, 82, 1e9)), ((0, 0, 0), (28, 84, 1e9), 40)
    lungs = [(*chest, behind_hu), ((0, -18, 0), (132, 82, 1e9), -850), between, *organs]
    inner, empty = (sketch([BODY, ribs, *what], EXTENT).array for what in (lungs, [(*chest, 40)]))
    inside = sketch([(*chest, 0)], EXTENT, noise=0).array == 0
    inside[..., :10] = inside[..., 60:] = False
    box = assess(volume(np.where(inside, inner, empty), (4.0,) * 3)).box
    assert box is not None
    np.testing.assert_allclose((*box.low, *box.high), (68, 68, 40, 332, 150 + back, 240), atol=10)

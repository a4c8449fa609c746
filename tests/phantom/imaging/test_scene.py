from __future__ import annotations

import numpy as np

from thoracle.phantom.imaging import scene as module
from thoracle.types import ABNORMALITIES


def test_a_scene_painted_in_slabs_is_the_same_chest(painted, monkeypatch):
    """Also where slabs meet: a tube gives a share to the slices on both sides of a seam."""
    whole = painted(1, *ABNORMALITIES)
    monkeypatch.setattr(module, "_SLAB", whole.grid.shape[0] * whole.grid.shape[1] * 9)
    hu, mask = module.paint(whole.scene, whole.grid)
    assert np.abs(hu - whole.hu).max() < 0.05
    assert (mask != whole.mask).mean() < 1e-6

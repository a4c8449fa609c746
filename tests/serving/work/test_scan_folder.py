"""What is kept of a scan is the scan that was read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import thoracle
from thoracle.errors import NotReady
from thoracle.serving.work.scan_folder import load_volume, save_volume


def test_a_volume_comes_back_as_it_was(sketch: Path, tmp_path: Path) -> None:
    volume = thoracle.read(sketch)
    save_volume(tmp_path, volume)
    again = load_volume(tmp_path)
    np.testing.assert_array_equal(again.array, volume.array)
    assert again.array.dtype == volume.array.dtype
    np.testing.assert_array_equal(again.affine, volume.affine)
    assert (again.spacing, again.provenance, again.tags) == (volume.spacing, volume.provenance, volume.tags)


def test_a_scan_that_was_closed_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotReady):
        load_volume(tmp_path)

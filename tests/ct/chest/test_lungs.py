"""Lung is found as what a label map says, and what is like it is not lung."""

from __future__ import annotations

import nrrd
import numpy as np
import pytest

from tests.ct.sketches import BODY, THROUGH, sketch
from thoracle.ct.chest.lungs import lung_cells

LUNGS = (((-75, 0, 0), (55, 75, 100), -850), ((75, 0, 0), (55, 75, 100), -850))


def test_lung_of_a_real_scan_is_that_of_its_label_map(data_dir):
    array, header = nrrd.read(str(data_dir / "volumes/cip_ct-64.nrrd"))
    labels = nrrd.read(str(data_dir / "volumes/cip_lm-64.nrrd"))[0]
    lung, cell = lung_cells(array, tuple(np.abs(np.diag(header["space directions"]))))
    per_cell = [round(size / step) for size, step in zip(cell, np.abs(np.diag(header["space directions"])), strict=True)]
    assert per_cell == [1, 1, 1]  # the scan is as coarse as the cells are
    assert 2 * np.count_nonzero(lung & (labels > 0)) / (np.count_nonzero(lung) + np.count_nonzero(labels)) > 0.93


@pytest.mark.parametrize("density", [-880, -930, -945])
def test_thin_lung_is_lung(density: int):
    volume = sketch([BODY, *((centre, radii, density) for centre, radii, _ in LUNGS)], (400, 300, 280), noise=25)
    lung, cell = lung_cells(volume.array, volume.spacing)
    assert np.count_nonzero(lung) * np.prod(cell) / 1e6 == pytest.approx(2 * 4 / 3 * np.pi * 55 * 75 * 100 / 1e6, rel=0.1)


def test_gas_below_the_lungs_is_none():
    gas = ((60, -40, -90), (45, 35, 30), -1000)
    volume = sketch([BODY, *(((x, y, 40), (55, 75, 80), hu) for (x, y, _), _, hu in LUNGS), gas], (400, 300, 280))
    lung, cell = lung_cells(volume.array, volume.spacing)
    assert (np.flatnonzero(lung.any(axis=(0, 1)))[0]) * cell[2] - 140 == pytest.approx(-40, abs=8)


def test_air_around_a_body_is_none():
    volume = sketch([((0, 0, 0), (160, 110, THROUGH), 40)], (400, 300, 200))
    assert not lung_cells(volume.array, volume.spacing)[0].any()

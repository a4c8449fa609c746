"""The sizes that ship are those that the documentation states."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from thoracle.phantom.anatomy.patient import sample_patient
from thoracle.phantom.findings import SAMPLERS
from thoracle.phantom.imaging.scanner import sample_acquisition
from thoracle.phantom.presets import PRESETS


def _documented() -> dict[str, list[float]]:
    """Numbers of each row of the table in docs/phantom.md: voxels along x, y, z, then mm."""
    text = (Path(__file__).parents[2] / "docs" / "phantom.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|", text, flags=re.MULTILINE)
    return {name: [float(number) for number in re.findall(r"[\d.]+", f"{voxels} {spacing}")] for name, voxels, spacing in rows}


def test_the_documentation_lists_every_preset():
    assert list(_documented()) == list(PRESETS) == ["tiny", "small", "full"]


@pytest.mark.parametrize("name", PRESETS)
def test_scans_of_a_preset_have_the_documented_voxels(name):
    columns, rows, slices, *spacing = _documented()[name]
    patients = [sample_patient(np.random.default_rng(i)) for i in range(100)]
    grids = [sample_acquisition(np.random.default_rng(i), patient, PRESETS[name]).grid for i, patient in enumerate(patients)]
    assert {grid.shape[:2] for grid in grids} == {(columns, rows)}
    assert np.mean([grid.shape[2] for grid in grids]) == pytest.approx(slices, rel=0.05)
    assert np.mean([grid.spacing for grid in grids], axis=0) == pytest.approx(spacing, rel=0.03)
    assert np.ptp([grid.spacing[0] for grid in grids]) > 0.05 * spacing[0], "fields of view vary"


@pytest.mark.parametrize("name", PRESETS)
def test_a_chest_fits_into_the_picture(name):
    """In an aligned phantom about 35 to 40 cm across and 25 to 30 cm along, whatever the voxels."""
    preset = PRESETS[name]
    assert 350 < preset.matrix * preset.pixel < 400
    assert 250 < preset.slices * preset.step <= 300


def test_finer_presets_are_noisier_and_have_more_second_reconstructions():
    tiny, small, full = PRESETS.values()
    assert tiny.noise < small.noise < full.noise
    assert 0 < tiny.twice < small.twice < full.twice < 1
    for preset in (tiny, full):
        patient = sample_patient(np.random.default_rng(0))
        volumes = [len(sample_acquisition(np.random.default_rng(i), patient, preset).reconstructions) for i in range(400)]
        assert np.mean(volumes) - 1 == pytest.approx(preset.twice, abs=0.06)


@pytest.mark.parametrize("name", PRESETS)
def test_no_nodule_or_node_is_smaller_than_its_preset_can_show(name, make_site):
    """Two pixels across are the least that a grid resolves."""
    site = make_site(0, finest=PRESETS[name].pixel)
    for abnormality in ("Lung nodule", "Lymphadenopathy", "Consolidation", "Pericardial effusion", "Pleural effusion"):
        sizes = [SAMPLERS[abnormality](np.random.default_rng(i), site).size_mm for i in range(60)]
        assert min(sizes) >= 2 * PRESETS[name].pixel, abnormality

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from thoracle.ct.preprocess import PreprocessConfig
from thoracle.ct.read import read
from thoracle.ct.recipes.published import SPECTRE
from thoracle.ct.recipes.recipe import FitToTiles
from thoracle.errors import OutsideIntendedUse
from thoracle.inference.demo.assets import write_scan
from thoracle.inference.prepare import prepare

CONFIG = PreprocessConfig(spacing=(6.0, 3.0, 3.0), size=(60, 120, 120))


def test_warnings_are_refusals_where_strict(tmp_path: Path) -> None:
    volume = read(write_scan(tmp_path / "scan.nii.gz"))
    prepared = prepare(volume, CONFIG)
    assert prepared.array.shape == CONFIG.size
    assert prepared.provenance == volume.provenance
    contrast = replace(volume, array=volume.array[:, :, :10])
    warned = prepare(contrast, CONFIG)
    assert warned.warnings
    with pytest.raises(OutsideIntendedUse, match=warned.warnings[0][:20]):
        prepare(contrast, CONFIG, strict=True)


def test_the_box_of_the_chest_comes_with_the_input(tmp_path: Path) -> None:
    """The lungs of the sketch, which the input holds whole: where it is darkest inside, and not at its rim."""
    volume = read(write_scan(tmp_path / "scan.nii.gz"))
    box = prepare(volume, CONFIG).lungs_box()
    assert all(0 < low < high < 1 for low, high in zip(box.low, box.high, strict=True))
    with pytest.raises(OutsideIntendedUse, match="no lungs were found"):
        prepare(replace(volume, array=volume.array * 0 + 40), CONFIG).lungs_box()


def test_a_scan_smaller_than_a_tile_is_padded_and_said(tmp_path: Path) -> None:
    volume = read(write_scan(tmp_path / "scan.nii.gz"))
    recipe = replace(SPECTRE, fit=FitToTiles(tile=(64, 64, 64), padding=0.0))
    assert not any("tile" in sentence for sentence in prepare(volume, recipe).warnings)
    cut = prepare(replace(volume, array=volume.array[:, :, :40]), recipe)
    assert cut.array.shape == (128, 64, 64)
    assert any("(128, 112, 40) voxels, less than one tile of (64, 64, 64)" in sentence for sentence in cut.warnings)

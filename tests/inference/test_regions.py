"""Maps by name, on the model's grid; a scan without lungs and a model without regions are refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thoracle.ct.chest.input_box import InputBox
from thoracle.ct.read import read
from thoracle.errors import CapabilityMissing, InputError, OutsideIntendedUse
from thoracle.inference.explain import resample_to_scan
from thoracle.inference.model import load
from thoracle.inference.prepare import PreparedVolume, prepare
from thoracle.inference.regions import region_maps


def test_maps_are_in_the_order_that_is_asked_for(regions_dir: Path, sketch: Path) -> None:
    model, volume = load(regions_dir, device="cpu"), read(sketch)
    maps = region_maps(model, volume)
    assert maps.shape == (2, 6, 6, 6)
    assert maps.min() >= 0
    assert maps.max() > 0
    np.testing.assert_array_equal(region_maps(model, prepare(volume, model.preprocess), abnormalities=["Pleural effusion"])[0], maps[1])
    assert resample_to_scan(maps[0], volume, model.preprocess).shape == volume.array.shape
    with pytest.raises(InputError, match="does not know Gout"):
        region_maps(model, volume, abnormalities=["Gout"])


def test_findings_are_those_of_the_strongest_places(regions_dir: Path, sketch: Path) -> None:
    model = load(regions_dir, device="cpu")
    findings = model.detect(read(sketch))
    logits = model.read_regions(read(sketch)).logits_BK[0]
    assert findings.abnormalities == ("Emphysema", "Pleural effusion")
    assert findings.probabilities == pytest.approx((1 / (1 + (-logits).exp())).tolist())
    assert findings.model_kind == "regions"
    assert not [warning for warning in findings.warnings if "Places" in warning]


def test_half_a_chest_is_said(regions_dir: Path, sketch: Path) -> None:
    model = load(regions_dir, device="cpu")
    prepared = prepare(read(sketch), model.preprocess)
    assert prepared.box is not None
    half = InputBox(low=prepared.box.low, high=prepared.box.high, encloses="lungs", cut=("bottom", "left"))
    warnings = model.detect(PreparedVolume(array=prepared.array, provenance=None, warnings=(), box=half)).warnings
    assert any("a part of the lungs, which are cut at bottom, left" in warning for warning in warnings)


def test_without_lungs_there_are_no_places(regions_dir: Path, model_dir: Path, sketch: Path) -> None:
    model = load(regions_dir, device="cpu")
    prepared = prepare(read(sketch), model.preprocess)
    body = InputBox(low=(0.0, 0.1, 0.1), high=(1.0, 0.9, 0.9), encloses="body")
    for box in (None, body):
        with pytest.raises(OutsideIntendedUse, match=r"no lungs were found, .* Give a scan of the chest"):
            region_maps(model, PreparedVolume(array=prepared.array, provenance=None, warnings=(), box=box))
    with pytest.raises(OutsideIntendedUse):
        model.detect(prepared.array)
    with pytest.raises(CapabilityMissing, match=r"does not have findings read by region. Give a regions model"):
        region_maps(load(model_dir, device="cpu"), prepared)

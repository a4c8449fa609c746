"""A folder of fewer bytes opens as any: weights within their rounding, all else carried over, a calibration that says what happened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from thoracle.errors import ModelFolderInvalid, OutputConflict
from thoracle.inference.calibration import Calibration, LabelCalibration, read_calibration, save_calibration
from thoracle.inference.export.quantized import export_quantized
from thoracle.inference.model import load
from thoracle.models.bundle.model_folder import CALIBRATION, TOKENIZER, load_state_dict, open_model, save_model

#: Half a step of symmetric rounding to -127 … 127, of a row's largest weight; half a unit in the last of the 8 bits of a bfloat16.
HALF_STEP = {"int8": 1 / 254, "bf16": 2**-8}


@pytest.mark.parametrize("kind", ["int8", "bf16"])
def test_weights_are_rounded_and_the_rest_is_as_it_was(kind: str, model_dir: Path, tmp_path: Path) -> None:
    model = load(model_dir, device="cpu")
    saved = export_quantized(model, tmp_path / "small", kind, summary="Rounded.")
    again, before = open_model(saved.path, verify=True), model.folder
    for field in ("kind", "config", "preprocess", "labels", "prompts", "licence", "trained", "source_sha256"):
        assert getattr(again, field) == getattr(before, field), field
    assert again.weights_bytes < 0.6 * before.weights_bytes
    assert again.tokenizer().fingerprint == before.tokenizer().fingerprint
    exact, rounded = load_state_dict(before), load_state_dict(again)
    assert set(exact) == set(rounded)
    changed = 0
    for name, tensor in exact.items():
        if tensor.dim() >= 2 and name.endswith(".weight"):
            largest = tensor.abs().amax(dim=tuple(range(1, tensor.dim())), keepdim=True)
            assert ((rounded[name].float() - tensor).abs() <= 1.001 * HALF_STEP[kind] * largest).all(), name
            changed += not torch.equal(rounded[name].float(), tensor)
        else:
            assert torch.equal(rounded[name], tensor), name
    assert changed
    volume = np.random.default_rng(0).uniform(-1, 1, model.preprocess.size).astype(np.float32)
    probabilities = [one.detect(volume).probabilities for one in (model, load(saved.path, device="cpu"))]
    np.testing.assert_allclose(*probabilities, atol=0.05)


def test_a_caution_is_kept_before_the_new_one(model_dir: Path, tmp_path: Path) -> None:
    before = open_model(model_dir)
    facts = {name: getattr(before, name) for name in ("kind", "config", "preprocess", "labels", "licence")}
    tensors = load_state_dict(before)
    cautious = save_model(tmp_path / "cautious", tensors=tensors, tokenizer=None, trained=True, caution="Knows only noise.", **facts)
    saved = export_quantized(load(cautious.path, device="cpu"), tmp_path / "small", "bf16", summary="Weights rounded to bf16.")
    assert "Knows only noise. Weights rounded to bf16." in saved.disclaimer
    assert saved.trained
    assert not (saved.path / TOKENIZER).exists(), "a model without a tokenizer gets none"


@pytest.fixture
def calibration(model_dir: Path) -> Calibration:
    folder = open_model(model_dir)
    mendings = {folder.labels[3]: LabelCalibration(slope=2.0, offset=-1.0, rule_in_at=0.2, rule_out_at=0.4)}
    facts = {"method": "platt", "coverage": 0.9, "fitted_on": "noise", "mendings": mendings}
    return Calibration(weights_sha256=folder.weights_sha256, prompts=folder.prompts, **facts)


def test_a_calibration_goes_with_the_weights_and_says_that_they_were_rounded(
    model_dir: Path, calibration: Calibration, tmp_path: Path
) -> None:
    save_calibration(model_dir, calibration)
    saved = export_quantized(load(model_dir, device="cpu"), tmp_path / "small", "int8", summary="")
    kept = read_calibration(saved.path, weights_sha256=saved.weights_sha256, prompts=saved.prompts)
    expected = replace(calibration, weights_sha256=saved.weights_sha256, fitted_on="noise; weights rounded to int8 since")
    assert kept == expected
    volume = np.zeros(load(model_dir).preprocess.size, np.float32)
    assert load(saved.path).detect(volume).verdicts[3] is not None


def test_without_a_calibration_there_is_none(model_dir: Path, tmp_path: Path) -> None:
    saved = export_quantized(load(model_dir, device="cpu"), tmp_path / "small", "int8", summary="")
    assert not (saved.path / CALIBRATION).exists()


def test_what_cannot_be_carried_over_writes_nothing(model_dir: Path, calibration: Calibration, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(OutputConflict):
        export_quantized(load(model_dir, device="cpu"), tmp_path / "taken", "int8", summary="")
    save_calibration(model_dir, replace(calibration, weights_sha256="0" * 64))
    with pytest.raises(ModelFolderInvalid, match="other weights"):
        export_quantized(load(model_dir, device="cpu"), tmp_path / "small", "int8", summary="")
    assert not (tmp_path / "small").exists()

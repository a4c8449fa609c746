from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.chat_folder import write_chat
from thoracle.cli import export
from thoracle.config_reader import config_to_mapping
from thoracle.inference.calibration import Calibration, LabelCalibration, save_calibration
from thoracle.inference.model import load
from thoracle.models.bundle.model_folder import open_model
from thoracle.types import RESEARCH_USE


@pytest.mark.parametrize("kind", ["int8", "bf16"])
def test_a_model_is_compared_and_written(command, model_dir: Path, noise: Path, tmp_path: Path, kind: str, monkeypatch) -> None:
    monkeypatch.setattr(export, "MOST_LOST", 1.0)  # of an untrained model, AUROC is noise
    ran = command("export", model_dir, f"--{kind}", "--cohort", noise, "--out", tmp_path / "small")
    assert ran.status == 0, ran.err
    for word in ("MB before", "mean AUROC", "probabilities", "s before", "on the disk alone", RESEARCH_USE):
        assert word in ran.out
    folder = open_model(tmp_path / "small", verify=True)
    assert f"rounded to {kind}" in folder.disclaimer
    assert not folder.trained
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_what_loses_too_much_is_not_written(command, model_dir: Path, noise: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(export, "MOST_LOST", -1.0)
    ran = command("export", model_dir, "--int8", "--cohort", noise, "--out", tmp_path / "small")
    assert ran.status == 2
    assert "nothing was written" in ran.err
    assert not list(tmp_path.iterdir())


def test_scans_that_give_no_auroc_are_said_to(command, model_dir: Path, noise: Path, tmp_path: Path) -> None:
    ran = command("export", model_dir, "--int8", "--cohort", noise, "--out", tmp_path / "small", "--limit", 1)
    assert ran.status == 2
    assert "of 1 scans of split valid, all or none have each finding: there is no AUROC to compare" in ran.err
    assert "nan" not in ran.err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def calibrated(model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the model that keeps a calibration of one label."""
    folder = tmp_path / "calibrated"
    shutil.copytree(model_dir, folder)
    own = open_model(folder)
    mending = {own.labels[3]: LabelCalibration(slope=2.0, offset=-1.0, rule_in_at=0.2, rule_out_at=0.4)}
    facts = {"method": "platt", "coverage": 0.9, "fitted_on": "noise", "mendings": mending}
    save_calibration(folder, Calibration(weights_sha256=own.weights_sha256, prompts=own.prompts, **facts))
    return folder


def test_onnx_answers_as_detect_and_says_what_it_is(command, calibrated: Path, noise: Path, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    ran = command("export", calibrated, "--onnx", "--cohort", noise, "--out", tmp_path / "model.onnx")
    assert ran.status == 0, ran.err
    for word in ("MB before", "as onnx", "mean AUROC", "probabilities", "s before", RESEARCH_USE):
        assert word in ran.out
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    said, model = session.get_modelmeta().custom_metadata_map, load(calibrated)
    assert said["notice"] == RESEARCH_USE
    assert said["calibration"] == "noise"
    assert tuple(json.loads(said["labels"])) == model.folder.labels
    assert json.loads(said["preprocess"]) == config_to_mapping(model.preprocess)
    assert said["trained"] == "false"
    volume = np.random.default_rng(0).uniform(-1, 1, model.preprocess.size).astype(np.float32)
    (found,) = session.run(["probabilities"], {"volume": volume[None, None]})
    np.testing.assert_allclose(found[0], model.detect(volume).probabilities, atol=1e-5)
    assert abs(found[0, 3] - model.detect(volume, calibrated=False).probabilities[3]) > 1e-3  # mended
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibrated", "model.onnx"]


@pytest.mark.slow
def test_onnx_in_int8_is_compared_and_says_what_was_measured(command, calibrated: Path, noise: Path, tmp_path: Path, monkeypatch) -> None:
    runtime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(export, "MOST_LOST", 1.0)  # of an untrained model, AUROC is noise
    ran = command("export", calibrated, "--onnx", "--int8", "--cohort", noise, "--out", tmp_path / "model.onnx")
    assert ran.status == 0, ran.err
    assert "as int8 onnx" in ran.out
    assert "on the disk alone" not in ran.out
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert "Computes in int8: mean AUROC" in metadata["caution"]
    assert metadata["notice"] == RESEARCH_USE
    assert command("export", calibrated, "--bf16", "--onnx", "--cohort", noise, "--out", tmp_path / "other.onnx").status == 2
    assert command("export", calibrated, "--bf16", "--int8", "--cohort", noise, "--out", tmp_path / "other").status == 2


def test_one_format_and_a_new_folder_are_needed(command, model_dir: Path, noise: Path, tmp_path: Path) -> None:
    assert command("export", model_dir, "--cohort", noise, "--out", tmp_path / "small").status == 2
    ran = command("export", model_dir, "--int8", "--cohort", noise, "--out", tmp_path)
    assert ran.status == 1
    assert "exists" in ran.err


def test_the_command_merges_and_says_how_far_logits_differ(command, tmp_path: Path) -> None:
    chat = write_chat(tmp_path)
    ran = command("export", chat, "--merge", "--out", tmp_path / "merged")
    assert ran.status == 0, ran.err
    assert "LoRA of 14 linear maps" in ran.out
    assert "of the largest" in ran.out
    assert command("export", chat, "--out", tmp_path / "other").status == 2

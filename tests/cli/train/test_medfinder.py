from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from thoracle.inference.demo import write_scan
from thoracle.models.folder import open_model
from thoracle.training.config import read_config, write_config
from thoracle.training.medfinder import MedFinderRunConfig

CONFIG = Path(__file__).parents[3] / "configs" / "phantom-medfinder.yaml"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The shipped one, but short."""
    short = replace(read_config(CONFIG, MedFinderRunConfig), section="findings", steps=2, batch=2, save_every=1, evaluate_every=2)
    write_config(short, tmp_path / "short.yaml")
    return tmp_path / "short.yaml"


def test_a_cohort_becomes_a_model_that_is_indexed_searched_measured_and_detects(
    command, cohort: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    run, index = tmp_path / "run", tmp_path / "index"
    ran = command("train", "medfinder", "--config", config, "--cohort", cohort, "--out", run)
    assert ran.status == 0, ran.err
    assert "step 2: macro_auroc 0." in ran.err
    model = open_model(run / "model", verify=True)
    assert (model.kind, model.trained) == ("medfinder", True)
    assert command("train", "medfinder", "--config", config, "--cohort", cohort, "--out", run, "--resume").status == 0

    ran = command("index", cohort, "--model", run / "model", "--out", index, "--keep-ids")
    assert ran.status == 0, ran.err
    assert "6 volumes, 0 failed" in ran.err
    write_scan(tmp_path / "chest.nii.gz")
    ran = command("search", index, "--text", "emphysema", "--scan", tmp_path / "chest.nii.gz", "--json", "-")
    assert ran.status == 0, ran.err
    hits = json.loads(ran.out)["hits"]
    assert len(hits) == 6
    assert hits[0]["ranks"].keys() == {"text", "scan"}
    ran = command("evaluate", "retrieval", index, "--protocol", "bimcv-r", "--out", tmp_path / "report", "--resamples", "5")
    assert ran.status == 0, ran.err
    found = json.loads((tmp_path / "report" / "results.json").read_text())
    assert found["model"]["kind"] == "medfinder"
    assert {"report to volume", "volume to report", "words to volume"} <= found["tasks"].keys()

    ran = command("detect", tmp_path / "chest.nii.gz", "--model", run / "model")
    assert ran.status == 0, ran.err
    assert "It has never seen a patient" in ran.out
    ran = command("embed", tmp_path / "chest.nii.gz", "--model", run / "model", "--out", tmp_path / "l.parquet", "--tokens", tmp_path / "t")
    assert ran.status == 0, ran.err
    ran = command("explain", tmp_path / "chest.nii.gz", "--model", run / "model", "--finding", "Emphysema", "--out", tmp_path / "maps")
    assert ran.status == 1
    assert "tokens can be looked at" in ran.err


def test_an_encoder_that_is_nowhere_and_another_cohort_end_with_2(command, cohort: Path, config: Path, tmp_path: Path) -> None:
    told = read_config(config, MedFinderRunConfig)
    write_config(replace(told, text=str(tmp_path / "nowhere")), tmp_path / "text.yaml")
    ran = command("train", "medfinder", "--config", tmp_path / "text.yaml", "--cohort", cohort, "--out", tmp_path / "run")
    assert ran.status == 2
    assert "config.json" in ran.err
    write_config(replace(told, preprocess=replace(told.preprocess, spacing=(5.0, 4.0, 4.0))), tmp_path / "other.yaml")
    ran = command("train", "medfinder", "--config", tmp_path / "other.yaml", "--cohort", cohort, "--out", tmp_path / "run")
    assert (ran.status, "another preprocessing" in ran.err) == (2, True)
    assert not (tmp_path / "run").exists()

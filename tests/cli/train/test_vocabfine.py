"""`thoracle train vocabfine`, from a cohort and a CT-CLIP to one that has learned labels as prompts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from thoracle.cohort.manifest import open_cohort, write_manifest
from thoracle.cohort.sources import UNLABELLED
from thoracle.models.bundle.model_folder import load_state_dict, open_model
from thoracle.training.engine.config import load_config, load_run_config, write_config
from thoracle.training.finetuning.vocabfine import VocabFineConfig
from thoracle.types import ABNORMALITIES

CONFIG = Path(__file__).parents[3] / "configs" / "phantom-tiny-vocabfine.yaml"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The demo's, but short."""
    short = replace(load_config(CONFIG, VocabFineConfig), steps=2, batch_size=2, save_every=1, eval_every=2, num_workers=0)
    write_config(short, tmp_path / "short.yaml")
    return tmp_path / "short.yaml"


def test_a_model_learns_the_labels_of_a_cohort_and_detects(command, cohort: Path, start: Path, config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    asked = ("train", "vocabfine", "--config", config, "--start", start, "--cohort", cohort, "--out", run)
    ran = command(*asked)
    assert ran.status == 0, ran.err
    assert "step 2: macro_auroc 0." in ran.err
    assert "2 steps done" in ran.err
    model = open_model(run / "model", verify=True)
    assert (model.kind, model.trained, model.labels) == ("ct-clip", True, ABNORMALITIES)
    before, after = load_state_dict(open_model(start)), load_state_dict(model)
    assert before.keys() == after.keys()
    assert not all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    written = load_run_config(run / "config.yaml", VocabFineConfig)
    assert (written.init_from, written.cohort) == (str(start), str(cohort))
    ran = command("detect", next(cohort.parent.glob("*.nii.gz")), "--model", run / "model", "--json", tmp_path / "findings.json")
    assert ran.status == 0, ran.err
    assert "Research use only. Not a medical device." in ran.out
    (warning,) = json.loads((tmp_path / "findings.json").read_text())["warnings"]
    assert "phantoms only" in warning, "the start's caution goes on"
    again = command(*asked)
    assert (again.status, "OutputConflict" in again.err) == (1, True), again.err
    resumed = command(*asked, "--resume")
    assert (resumed.status, "2 steps done" in resumed.err) == (0, True), resumed.err
    assert all(torch.equal(tensor, after[name]) for name, tensor in load_state_dict(open_model(run / "model", verify=True)).items())


def test_what_it_cannot_go_on_from_is_refused(command, cohort: Path, start: Path, config: Path, tmp_path: Path) -> None:
    asked = ("train", "vocabfine", "--config", config, "--cohort", cohort, "--out", tmp_path / "run")
    ran = command(*asked, "--start", tmp_path / "nowhere")
    assert (ran.status, "nowhere" in ran.err) == (1, True), ran.err
    ran = command(*asked, "--set", "init_from=''")
    assert (ran.status, "VocabFine goes on from a model" in ran.err) == (2, True), ran.err
    settings = start / "config.json"
    settings.write_text(settings.read_text().replace('"clip_stage": "before-resampling"', '"clip_stage": "after-resampling"'))
    ran = command(*asked, "--start", start)
    assert (ran.status, "another preprocessing" in ran.err) == (2, True), ran.err
    assert not (tmp_path / "run").exists()


def test_a_cohort_without_labels_teaches_nothing(command, cohort: Path, start: Path, config: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(cohort, tmp_path / "bare")
    write_manifest(bare, [replace(entry, labels=UNLABELLED) for entry in open_cohort(bare).entries])
    ran = command("train", "vocabfine", "--config", config, "--cohort", bare, "--start", start, "--out", tmp_path / "run")
    assert (ran.status, "no volume with labels in split 'train'" in ran.err) == (2, True), ran.err
    assert not (tmp_path / "run").exists()

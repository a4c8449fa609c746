"""`thoracle train student`, from volumes and a teacher to a smaller model that detects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from thoracle.cohort.manifest import open_cohort, write_manifest
from thoracle.cohort.reports import Report
from thoracle.models.bundle.model_folder import load_state_dict, open_model
from thoracle.training.engine.config import load_config, write_config
from thoracle.training.finetuning.distillation import DistillationConfig
from thoracle.types import ABNORMALITIES

CONFIG = Path(__file__).parents[3] / "configs" / "phantom-tiny-student.yaml"


def test_a_student_learns_from_volumes_without_reports_and_detects(command, cohort: Path, start: Path, tmp_path: Path) -> None:
    opened = open_cohort(cohort)
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in cohort.iterdir():
        if path.name != "manifest.csv":
            (bare / path.name).symlink_to(path)
    write_manifest(bare, [replace(entry, report=Report()) for entry in opened.entries])
    short = replace(load_config(CONFIG, DistillationConfig), steps=2, batch_size=2, save_every=1, eval_every=2)
    write_config(short, tmp_path / "short.yaml")
    run = tmp_path / "run"
    asked = ("train", "student", "--config", tmp_path / "short.yaml", "--teacher", start, "--cohort", bare, "--out", run)
    ran = command(*asked)
    assert ran.status == 0, ran.err
    assert "step 2: macro_auroc 0." in ran.err
    model, teacher = open_model(run / "model", verify=True), open_model(start)
    assert (model.kind, model.trained, model.labels) == ("ct-clip", True, ABNORMALITIES)
    assert model.config.ctvit.dim * 2 == teacher.config.ctvit.dim
    assert model.weights_bytes < teacher.weights_bytes
    ran = command("detect", next(cohort.parent.glob("*.nii.gz")), "--model", run / "model")
    assert ran.status == 0, ran.err
    assert "Research use only. Not a medical device." in ran.out
    before = load_state_dict(model)
    resumed = command(*asked, "--resume")
    assert (resumed.status, "2 steps done" in resumed.err) == (0, True), resumed.err
    assert all(torch.equal(tensor, before[name]) for name, tensor in load_state_dict(open_model(run / "model")).items())


def test_a_teacher_that_is_no_ct_clip_is_refused(command, cohort: Path, tmp_path: Path) -> None:
    asked = ("train", "student", "--config", CONFIG, "--cohort", cohort, "--out", tmp_path / "run")
    ran = command(*asked, "--teacher", tmp_path / "nowhere")
    assert (ran.status, "nowhere" in ran.err) == (1, True), ran.err
    assert not (tmp_path / "run").exists()

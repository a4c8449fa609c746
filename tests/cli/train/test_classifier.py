"""`thoracle train classifier`, from a cohort and a model to one that `thoracle detect` takes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from safetensors.torch import load_file

from thoracle.cohort.manifest import open_cohort
from thoracle.models.bundle.model_folder import open_model
from thoracle.training.engine.config import load_config, write_config
from thoracle.training.finetuning.config import ClassifierConfig

CONFIGS = Path(__file__).parents[3] / "configs"


def test_a_cohort_becomes_a_classifier_that_detects(command, cohort: Path, start: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    told = load_config(CONFIGS / "phantom-tiny-classifier.yaml", ClassifierConfig)
    write_config(replace(told, steps=4, batch_size=2, save_every=2, eval_every=2), tmp_path / "short.yaml")
    asked = ("train", "classifier", "--config", tmp_path / "short.yaml", "--start", start, "--cohort", cohort)
    ran = command(*asked, "--out", run)
    assert ran.status == 0, ran.err
    assert "step 4: macro_auroc" in ran.err
    assert len(list((tmp_path / "latents").iterdir())) == 2  # one of each split
    assert open_model(run / "model", verify=True).kind == "ct-clip-classifier"
    scan = next(cohort.parent.glob("*.nii.gz"))
    ran = command("detect", scan, "--model", run / "model")
    assert ran.status == 0, ran.err
    assert "phantoms only" in ran.out + ran.err
    assert command(*asked, "--out", run).status == 1
    assert command(*asked, "--out", run, "--resume").status == 0


def test_labels_alone_become_a_classifier_that_detects_and_reads_no_words(command, cohort: Path, tmp_path: Path) -> None:
    asked = ("train", "classifier", "--config", "phantom-tiny-supervised", "--cohort", cohort, "--out", tmp_path / "run")
    settings = ("--set", "steps=2", "--set", "batch_size=2", "--set", "save_every=2")
    ran = command(*asked, *settings)
    assert ran.status == 0, ran.err
    scan = next(cohort.parent.glob("*.nii.gz"))
    ran = command("detect", scan, "--model", tmp_path / "run" / "model", "--json", "-")
    assert ran.status == 0, ran.err
    assert len(json.loads(ran.out)["findings"]) == 18
    ran = command("index", cohort, "--model", tmp_path / "run" / "model", "--split", "train", "--out", tmp_path / "index")
    assert ran.status == 0, ran.err
    ran = command("search", tmp_path / "index", "--text", "effusion")
    assert (ran.status, "words cannot be read" in ran.err) == (1, True), ran.err


def test_a_model_made_for_other_volumes_is_refused(command, cohort: Path, start: Path, tmp_path: Path) -> None:
    config = start / "config.json"
    config.write_text(config.read_text().replace('"clip_stage": "before-resampling"', '"clip_stage": "after-resampling"'))
    asked = ("train", "classifier", "--config", "phantom-tiny-classifier", "--start", start, "--cohort", cohort)
    ran = command(*asked, "--out", tmp_path / "run")
    assert ran.status == 2
    assert "another preprocessing" in ran.err
    assert not (tmp_path / "run").exists()


def test_a_list_is_trained_on_alone(command, cohort: Path, start: Path, tmp_path: Path) -> None:
    config = load_config(CONFIGS / "phantom-tiny-classifier.yaml", ClassifierConfig)
    write_config(replace(config, steps=1, batch_size=1, save_every=1, eval_every=1), tmp_path / "short.yaml")
    entries = open_cohort(cohort).entries
    train, dev = ([entry.volume for entry in entries if entry.split == split] for split in ("train", "dev"))
    (tmp_path / "list.csv").write_text("\n".join(["volume", *train[:2], *dev, "elsewhere"]))
    asked = ("train", "classifier", "--config", tmp_path / "short.yaml", "--start", start, "--cohort", cohort, "--only")
    ran = command(*asked, tmp_path / "list.csv", "--out", tmp_path / "run")
    assert ran.status == 0, ran.err
    assert "4 volumes are listed in list.csv; 1 of the 5 listed are not here." in ran.err
    encoded = [load_file(path)["latents"].shape[0] for path in (tmp_path / "latents").iterdir()]
    assert sorted(encoded) == [2, 2]
    (tmp_path / "none.csv").write_text("volume\nelsewhere\n")
    ran = command(*asked, tmp_path / "none.csv", "--out", tmp_path / "nothing")
    assert (ran.status, "none of them is here" in ran.err, (tmp_path / "nothing").exists()) == (2, True, False), ran.err

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from thoracle.cli.train.labeler import _cohort_reports
from thoracle.cohort.manifest import open_cohort, write_manifest
from thoracle.models.bundle.model_folder import LABELLING, open_model
from thoracle.models.text.config import TextConfig
from thoracle.phantom.case import plan_cohort, report_patient
from thoracle.phantom.presets import PRESETS
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.engine.config import load_config, write_config
from thoracle.training.labeler.task import LabelerConfig
from thoracle.types import ABNORMALITIES, RESEARCH_USE

CONFIG = Path(__file__).parents[3] / "configs" / "labeler-tiny.yaml"


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantom reports with what is so."""
    path = tmp_path_factory.mktemp("reports") / "reports.csv"
    pairs = [pair for plan in plan_cohort(160, seed=3) for pair in report_patient(plan, seed=3, preset=PRESETS["tiny"])]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("AccessionNo", "report_text", *ABNORMALITIES))
        writer.writerows((f"p{n}", report.impression or report.findings, *labels) for n, (report, labels) in enumerate(pairs))
    return path


def test_a_list_is_of_a_cohort_not_of_a_table(command, cohort: Path, reports: Path, tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("volume\nelsewhere\n")
    asked = ("train", "labeler", "--config", CONFIG, "--only", tmp_path / "none.csv", "--out", tmp_path / "run")
    for source, says in (
        (("--reports", reports), "--only takes volumes of a prepared cohort"),
        (("--cohort", cohort), "none of them is here"),
    ):
        ran = command(*asked, *source)
        assert (ran.status, says in ran.err) == (2, True), ran.err


def test_reports_become_a_classifier_that_labels(command, reports: Path, tmp_path: Path) -> None:
    sizes = TextConfig(vocab_size=4000, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    short = replace(
        load_config(CONFIG, LabelerConfig), steps=30, batch_size=16, max_text_tokens=64, eval_every=15, save_every=15, model=sizes
    )
    write_config(short, tmp_path / "short.yaml")
    run = tmp_path / "run"
    ran = command("train", "labeler", "--config", tmp_path / "short.yaml", "--reports", reports, "--out", run)
    assert ran.status == 0, ran.err
    assert "macro_f1" in ran.err
    assert RESEARCH_USE in ran.err
    kept = json.loads((run / "model" / LABELLING).read_text())
    assert set(kept["decisions"]) == set(ABNORMALITIES)
    out = tmp_path / "labels.csv"
    ran = command("label", reports, "--backend", "auto", "--model", run / "model", "--out", out)
    assert ran.status == 0, ran.err
    with out.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 160
    ran = command(
        "evaluate", "labeler", reports, "--backend", "classifier", "--model", run / "model", "--resamples", 5, "--save-decision-rule"
    )
    assert ran.status == 0, ran.err


def test_what_cannot_be_trained_on_is_said(command, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("AccessionNo,report_text\n1,A nodule is seen.\n")
    ran = command("train", "labeler", "--config", CONFIG, "--reports", tmp_path / "r.csv", "--out", tmp_path / "run")
    assert ran.status == 1
    assert "has no column Medical material" in ran.err


def test_a_table_in_another_encoding_is_read_as_its_error_says(command, tmp_path: Path) -> None:
    """With too few reports to train on, so that the next error is another."""
    table = tmp_path / "r.csv"
    header, labels = ";".join(("AccessionNo", "report_text", *ABNORMALITIES)), ";".join("0" * len(ABNORMALITIES))
    table.write_bytes(f"{header}\n1;The heart is normal, Müller.;{labels}\n".encode("cp1252"))
    arguments = ("train", "labeler", "--config", CONFIG, "--reports", table, "--out", tmp_path / "run")
    ran = command(*arguments)
    assert (ran.status, "give --encoding cp1252" in ran.err) == (1, True), ran.err
    ran = command(*arguments, "--encoding", "cp1252")
    assert (ran.status, "no report is left to validate on" in ran.err) == (2, True), ran.err


def test_a_cohort_teaches_words_that_a_ct_clip_begins_with(command, cohort: Path, tmp_path: Path) -> None:
    words = load_config(CONFIG.parent / "phantom-tiny-labeler.yaml", LabelerConfig)
    write_config(replace(words, section="findings", prompt_repeats=1, steps=3, batch_size=4, save_every=2), tmp_path / "words.yaml")
    ran = command("train", "labeler", "--config", tmp_path / "words.yaml", "--cohort", cohort, "--out", tmp_path / "words")
    assert ran.status == 0, ran.err
    pairs = load_config(CONFIG.parent / "phantom-tiny.yaml", ContrastiveConfig)
    write_config(replace(pairs, section="findings", steps=2, batch_size=2, save_every=1), tmp_path / "pairs.yaml")
    asked = ("train", "contrastive", "--config", tmp_path / "pairs.yaml", "--cohort", cohort)
    missing = command(*asked, "--text-weights", tmp_path / "nowhere", "--out", tmp_path / "none")
    assert missing.status == 2
    assert "nowhere" in missing.err
    ran = command(*asked, "--text-weights", tmp_path / "words" / "model", "--out", tmp_path / "run")
    assert ran.status == 0, ran.err
    moved = (tmp_path / "words").rename(tmp_path / "moved")
    assert command(*asked, "--text-weights", moved / "model", "--out", tmp_path / "run", "--resume").status == 0
    begun, words = (open_model(tmp_path / name / "model").tokenizer() for name in ("run", "moved"))
    assert begun.fingerprint == words.fingerprint


def test_reports_of_dev_that_are_not_trained_on_word_for_word_are_validated_on(noise: Path, tmp_path: Path) -> None:
    cohort = shutil.copytree(noise, tmp_path / "cohort")
    moved = {"valid_3": "dev", "valid_4": "dev", "valid_5": "train"}
    entries = [replace(entry, split=moved.get(entry.patient, entry.split)) for entry in open_cohort(noise).entries]
    trained = next(entry.report for entry in entries if entry.patient == "valid_5")
    write_manifest(cohort, [replace(entry, report=trained) if entry.patient == "valid_4" else entry for entry in entries])
    training, validation = _cohort_reports(LabelerConfig(cohort=str(cohort), section="findings"))
    assert {report.name for report in training} == {"train_16_a", "train_17_a", "valid_5_a"}
    assert [report.name for report in validation] == ["valid_3_a"]

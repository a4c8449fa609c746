"""Findings in any words, through the commands that take them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

import thoracle
from tests.inference.test_model import other_kind
from thoracle.cohort.manifest import open_cohort
from thoracle.types import ABNORMALITIES

Command = Callable[..., Any]
WORDINGS = Path(__file__).parents[2] / "configs" / "prompts" / "chest-ct.yaml"
NAMES = ("Pneumothorax", "Rib fracture", "Heart")


@pytest.fixture
def findings(tmp_path: Path) -> Path:
    """A name, and a pair of prompts that is the published one of cardiomegaly."""
    path = tmp_path / "findings.yaml"
    path.write_text("Rib fracture:\nHeart: [Cardiomegaly is present., Cardiomegaly is not present.]\n")
    return path


@pytest.fixture
def labels(noise: Path, tmp_path: Path) -> Path:
    """Of the cohort of noise: what it has of cardiomegaly as heart, and others; two volumes have no row."""
    path, column = tmp_path / "labels.csv", ABNORMALITIES.index("Cardiomegaly")
    rows = [f"{e.volume},{e.labels[column]},{e.labels[0]},{1 - e.labels[0]},1" for e in open_cohort(noise).entries[2:]]
    path.write_text("\n".join(["VolumeName,heart,Pneumothorax,rib fracture,Unused", *rows]))
    return path


def _probabilities(path: Path) -> list[float]:
    return [one["probability"] for one in json.loads(path.read_text())["findings"]]


def test_one_scan_is_asked_for_any_words(command: Command, model_dir: Path, sketch: Path, findings: Path, tmp_path: Path) -> None:
    asked = ("--finding", "Pneumothorax", "--findings", findings)
    ran = command("detect", sketch, "--model", model_dir, *asked, "--json", tmp_path / "asked.json")
    assert ran.status == 0, ran.err
    assert "Not calibrated, for it is asked for in words of yours: Pneumothorax, Rib fracture, Heart." in ran.out
    assert [name for name in ABNORMALITIES if f"{name} 0." in ran.out] == []
    values = json.loads((tmp_path / "asked.json").read_text())
    assert [(one["abnormality"], one["calibrated"]) for one in values["findings"]] == [(name, False) for name in NAMES]
    assert values["findings"][2]["prompts"] == ["Cardiomegaly is present.", "Cardiomegaly is not present."]
    listed = thoracle.load(model_dir).detect(thoracle.read(sketch))
    heart = listed.probabilities[ABNORMALITIES.index("Cardiomegaly")]
    assert _probabilities(tmp_path / "asked.json")[2] == pytest.approx(heart, abs=1e-6)


def test_a_table_has_a_column_for_each_and_is_continued_with_no_others(
    command: Command, model_dir: Path, sketch: Path, findings: Path, tmp_path: Path
) -> None:
    asked = ("detect", sketch, "--model", model_dir, "--out", tmp_path / "p.csv")
    ran = command(*asked, "--findings", findings)
    assert ran.status == 0, ran.err
    assert "Not calibrated" in ran.err
    with (tmp_path / "p.csv").open() as file:
        assert next(csv.reader(file)) == ["VolumeName", "source_sha256", "series", "Rib fracture", "Heart"]
    settings = json.loads((tmp_path / "p.csv.run.json").read_text())
    assert settings["labels"] == ["Rib fracture", "Heart"]
    assert [(one["name"], one["calibrated"]) for one in settings["findings"]] == [("Rib fracture", False), ("Heart", False)]
    assert command(*asked, "--findings", findings).status == 0
    findings.write_text("Rib fracture:\nHeart: [The heart is large., The heart is small.]\n")  # the same columns
    for other in (("--findings", findings), ("--finding", "Rib fracture"), ()):
        ran = command(*asked, *other)
        assert (ran.status, "p.csv: was made with another" in ran.err) == (1, True), ran.err


def test_a_classifier_names_its_own_labels(command: Command, model_dir: Path, sketch: Path, tmp_path: Path) -> None:
    lipro = other_kind(model_dir, tmp_path / "lipro", "ct-clip-classifier")
    ran = command("detect", sketch, "--model", lipro, "--finding", "Pneumothorax")
    assert ran.status == 2
    assert "does not know Pneumothorax, and takes no prompts" in ran.err
    assert "It knows Medical material, Arterial wall calcification" in ran.err
    ran = command("detect", sketch, "--model", lipro, "--finding", "Emphysema", "--json", tmp_path / "one.json")
    assert ran.status == 0, ran.err
    assert len(_probabilities(tmp_path / "one.json")) == 1
    assert "Not calibrated" not in ran.out


def test_findings_are_scored_by_labels_of_their_names(
    command: Command, model_dir: Path, noise: Path, findings: Path, labels: Path, tmp_path: Path
) -> None:
    run, scored = ("evaluate", "detection", model_dir, noise, "--protocol", "ct-rate", "--resamples", 20), tmp_path / "scored"
    ran = command(*run, "--findings", findings, "--finding", "Pneumothorax", "--labels", labels, "--out", scored)
    assert ran.status == 0, ran.err
    values = json.loads((scored / "results.json").read_text())
    assert set(values["labels"]) == set(NAMES)
    assert values["scored"]["volumes"] == 17 - 2 + sum(e.split == "train" for e in open_cohort(noise).entries[:2])
    assert "Not calibrated, for it is asked for in words of yours: Pneumothorax, Rib fracture, Heart." in " ".join(values["notes"])
    assert [one["name"] for one in values["model"]["findings"]] == list(NAMES)
    listed = tmp_path / "listed"
    (tmp_path / "their.csv").write_text(labels.read_text().replace("heart", "Cardiomegaly"))
    ran = command(*run, "--labels", tmp_path / "their.csv", "--out", listed)
    assert ran.status == 0, ran.err
    assert "Not scored, since the model does not know them: Pneumothorax, rib fracture, Unused." in ran.err
    own = json.loads((listed / "results.json").read_text())["labels"]
    assert set(own) == {"Cardiomegaly"}
    assert own["Cardiomegaly"]["own"]["auroc"] == values["labels"]["Heart"]["own"]["auroc"]
    table = command("evaluate", "detection", scored / "predictions.csv", noise, *run[4:], "--labels", labels, "--finding", "heart",
                    "--out", tmp_path / "table")  # fmt: skip
    assert table.status == 0, table.err
    again = json.loads((tmp_path / "table" / "results.json").read_text())["labels"]
    assert again["heart"]["own"]["auroc"] == values["labels"]["Heart"]["own"]["auroc"]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--finding", "Pneumothorax"), "nobody labelled Pneumothorax"),
        (("--finding", "Gout", "--labels", "LABELS"), "nobody labelled Gout"),
        (("--labels", "OTHERS"), "has a row of none of the cohort's volumes"),
        (("--labels", "UNKNOWN"), "knows none of the labels Gout"),
        (("--finding", "Emphysema", "--save-calibration"), "there is no calibration to keep"),
    ],
)
def test_what_cannot_be_scored_is_said(
    command: Command, model_dir: Path, noise: Path, labels: Path, tmp_path: Path, arguments: tuple[str, ...], fault: str
) -> None:
    (tmp_path / "others.csv").write_text("VolumeName,Gout\nelsewhere,1\n")
    (tmp_path / "unknown.csv").write_text("VolumeName,Gout\nvalid_1_a_1.nii.gz,1\n")
    files = {"LABELS": labels, "OTHERS": tmp_path / "others.csv", "UNKNOWN": tmp_path / "unknown.csv"}
    run = ("evaluate", "detection", model_dir, noise, "--protocol", "ct-rate", "--out", tmp_path / "run")
    ran = command(*run, *(files.get(one, one) for one in arguments))
    assert ran.status == 2, ran.err
    assert fault in ran.err


def test_wordings_of_any_finding_are_compared(
    command: Command, model_dir: Path, noise: Path, findings: Path, labels: Path, tmp_path: Path
) -> None:
    run = ("evaluate", "prompts", model_dir, noise, "--templates", WORDINGS, "--resamples", 5)
    ran = command(*run, "--findings", findings, "--labels", labels, "--out", tmp_path / "any")
    assert ran.status == 0, ran.err
    values = json.loads((tmp_path / "any" / "prompts.json").read_text())
    assert set(values["spread"]) == {"Rib fracture", "Heart"}
    assert set(values["macro"]) == {*values["templates"], *values["ensembles"], "their own prompts"}
    assert "Not calibrated" in ran.out
    (tmp_path / "their.csv").write_text(labels.read_text().replace("heart", "Cardiomegaly"))
    ran = command(*run, "--finding", "Cardiomegaly", "--labels", tmp_path / "their.csv", "--out", tmp_path / "listed")
    listed = json.loads((tmp_path / "listed" / "prompts.json").read_text())["by_label"]["published zero-shot"]
    assert values["by_label"]["their own prompts"]["Heart"] == listed["Cardiomegaly"]


def test_brackets_and_other_cases_in_names_are_names(command: Command, model_dir: Path, noise: Path, labels: Path, tmp_path: Path) -> None:
    """A terminal's markup would take [solid] out of what is printed, and [/] for its end."""
    (tmp_path / "their.csv").write_text(labels.read_text().replace("heart", "Nodule [solid]").replace("Unused", "[/]"))
    ran = command("evaluate", "prompts", model_dir, noise, "--templates", WORDINGS, "--resamples", 5, "--finding", "Nodule [solid]",
                  "--finding", "[/]", "--labels", tmp_path / "their.csv", "--out", tmp_path / "out")  # fmt: skip
    assert ran.status == 0, ran.err
    assert "in words of yours: Nodule [solid], [/]." in ran.out
    assert "[/] –" in ran.out
    settings = json.loads((model_dir / "config.json").read_text())
    folder = copytree(model_dir, tmp_path / "model")
    (folder / "config.json").write_text(json.dumps({**settings, "labels": ["Rib Fracture", "Pneumothorax"]}))
    ran = command(
        "evaluate", "detection", folder, noise, "--protocol", "ct-rate", "--resamples", 5, "--labels", labels, "--out", tmp_path / "run"
    )
    assert ran.status == 0, ran.err
    assert "Not scored, since the model does not know them: heart, Unused." in ran.err
    assert set(json.loads((tmp_path / "run" / "results.json").read_text())["labels"]) == {"Rib Fracture", "Pneumothorax"}

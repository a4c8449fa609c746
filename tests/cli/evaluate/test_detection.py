from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thoracle.inference.model import load
from thoracle.types import ABNORMALITIES

Command = Callable[..., Any]
NOTICE = "Research use only. Not a medical device."


def _values(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text())


def test_a_model_is_scored_on_a_cohort(command: Command, model_dir: Path, noise: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ran = command("evaluate", "detection", model_dir, noise, "--protocol", "ct-rate", "--out", out, "--resamples", 50)
    assert ran.status == 0, ran.err
    values = _values(out)
    assert values["notice"] == NOTICE
    assert values["scored"] == {"patients": 16, "scans": 16, "volumes": 17}
    assert set(values["labels"]) == set(ABNORMALITIES)
    assert values["model"]["trained"] is False
    assert "macro AUROC" in ran.out
    assert "as published, F1 of both answers" in ran.out
    assert "UNTRAINED WEIGHTS" in ran.err
    page = (out / "report.html").read_text()
    assert NOTICE in page
    assert page.count("data:image/png") == page.count("<img")
    shown = values["scans"]["probabilities"][0]
    with (out / "predictions.csv").open() as file:
        first = next(csv.DictReader(file))
    assert first["VolumeName"] == "valid_0_a_1.nii.gz"
    assert [float(first[name]) for name in ABNORMALITIES] == pytest.approx(shown)


def test_a_run_goes_on_and_another_model_does_not(command: Command, model_dir: Path, noise: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    asked = ("--protocol", "ct-clip-legacy", "--out", out, "--resamples", 20)
    assert command("evaluate", "detection", model_dir, noise, *asked).status == 0
    before = (out / "predictions.csv").read_text()
    (out / "predictions.csv").write_text("".join(before.splitlines(keepends=True)[:5]))
    assert command("evaluate", "detection", model_dir, noise, *asked).status == 0
    assert (out / "predictions.csv").read_text() == before
    assert command("evaluate", "detection", model_dir, noise, *asked, "--dtype", "bf16").status == 1
    assert _values(out)["tuned_on"] == "the scored labels themselves, as published"
    assert _values(out)["average"]["calibrated"] is None


def test_calibration_is_kept_and_detect_uses_it(command: Command, model_dir: Path, noise: Path, sketch: Path, tmp_path: Path) -> None:
    own = shutil.copytree(model_dir, tmp_path / "model")
    ran = command(
        "evaluate", "detection", own, noise, "--protocol", "ct-rate", "--out", tmp_path / "run", "--save-calibration", "--resamples", 20
    )
    assert ran.status == 0, ran.err
    kept = load(own).calibration
    assert kept is not None
    assert kept.fitted_on == "all 16 patients of the scored split"
    assert "Calibrated. At least 90% of verdicts" in command("detect", sketch, "--model", own).out
    again = command("evaluate", "detection", own, noise, "--protocol", "ct-rate", "--out", tmp_path / "run", "--resamples", 20)
    assert again.status == 0  # the model's own probabilities are scored, whatever is kept


def test_tables_are_scored_as_the_model_they_are_of(command: Command, model_dir: Path, noise: Path, tmp_path: Path) -> None:
    first = tmp_path / "model-run"
    command("evaluate", "detection", model_dir, noise, "--protocol", "ct-rate", "--out", first, "--resamples", 20)
    ran = command(
        "evaluate", "classifier", first / "predictions.csv", noise, "--protocol", "ct-rate", "--out", tmp_path / "table", "--resamples", 20
    )
    assert ran.status == 0, ran.err
    assert _values(tmp_path / "table")["average"]["own"] == _values(first)["average"]["own"]


def test_another_archive_is_scored_by_a_mapping(command: Command, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("VolumeName,A,B\n" + "".join(f"s{n},0.{n},0.{9 - n}\n" for n in range(1, 9)))
    labels = "".join(f"s{n},{int(n > 4)},1,p{n}\n" for n in range(1, 9))
    (tmp_path / "l.csv").write_text(f"VolumeName,theirs,unused,patient\n{labels}")
    (tmp_path / "m.csv").write_text("label,abnormality\ntheirs,A\n")
    asked = ("evaluate", "detection", tmp_path / "p.csv", tmp_path / "l.csv", "--protocol", "rad-chestct", "--out", tmp_path / "run")
    ran = command(*asked, "--mapping", tmp_path / "m.csv", "--resamples", 20)
    assert ran.status == 0, ran.err
    assert _values(tmp_path / "run")["labels"]["theirs"]["own"]["auroc"]["value"] == 1
    assert command(*asked).status == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("MODEL", "COHORT", "--protocol", "nonsense"), "no protocol 'nonsense'"),
        (("MODEL", "nowhere", "--protocol", "phantom"), "no such file or folder"),
        (("MODEL", "labels.csv", "--protocol", "phantom"), "a table of labels has no scans"),
        (("MODEL", "COHORT", "--protocol", "holdout"), "no volume with labels in split test"),
        (("MODEL", "COHORT", "--protocol", "phantom", "--mapping", "m.csv"), "takes no mapping"),
        (("MODEL", "COHORT", "--protocol", "phantom", "--thresholds-from", "valid"), "thresholds cannot come from valid, which is scored"),
        (("MODEL", "COHORT", "--protocol", "ct-clip-legacy", "--save-calibration"), "there is no calibration to keep"),
        (("MODEL", "COHORT", "--protocol", "ct-rate", "--coverage", "1.5"), "coverage must lie between 0 and 1"),
    ],
)
def test_what_cannot_be_is_said(
    command: Command, model_dir: Path, noise: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    real = {"MODEL": model_dir, "COHORT": noise, "labels.csv": tmp_path / "labels.csv", "nowhere": tmp_path / "nowhere"}
    (tmp_path / "labels.csv").write_text("VolumeName,x\n")
    ran = command("evaluate", "detection", *(real.get(one, one) for one in arguments), "--out", tmp_path / "run", "--resamples", 5)
    assert ran.status == 2, ran.err
    assert said in ran.err


def test_a_cohort_of_another_model_is_refused(command: Command, model_dir: Path, noise: Path, tmp_path: Path) -> None:
    other = shutil.copytree(noise, tmp_path / "other")
    settings = json.loads((other / "cohort.json").read_text())
    settings["preprocess"]["spacing"] = [1.0, 1.0, 1.0]
    (other / "cohort.json").write_text(json.dumps(settings))
    ran = command("evaluate", "detection", model_dir, other, "--protocol", "ct-rate", "--out", tmp_path / "run")
    assert ran.status == 2
    assert "was prepared with another preprocessing" in ran.err


def test_a_list_is_scored_alone(command: Command, model_dir: Path, noise: Path, tmp_path: Path) -> None:
    volumes = [f"valid_{patient}_a_1" for patient in range(12)]
    (tmp_path / "list.csv").write_text("\n".join(["volume", *volumes, "valid_99_a_1"]))
    asked = ("evaluate", "detection", model_dir, noise, "--protocol", "ct-clip-legacy", "--resamples", 5)
    ran = command(*asked, "--only", tmp_path / "list.csv", "--out", tmp_path / "few")
    assert ran.status == 0, ran.err
    assert "12 volumes are listed in list.csv; 1 of the 13 listed are not here." in ran.err
    assert _values(tmp_path / "few")["scored"] == {"patients": 12, "scans": 12, "volumes": 12}
    table = tmp_path / "few" / "predictions.csv"
    ran = command("evaluate", "detection", table, table, "--protocol", "holdout", "--only", tmp_path / "list.csv", "--out", tmp_path / "x")
    assert (ran.status, "--only takes volumes of a prepared cohort" in ran.err) == (2, True), ran.err

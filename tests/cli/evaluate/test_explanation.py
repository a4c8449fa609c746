"""Phantoms made, prepared, and explained by a model that knows nothing: what the command does, and that it says so."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from thoracle.inference.localization.measured import read_localization
from thoracle.models.bundle.model_folder import open_model
from thoracle.models.citations import CT_CLIP
from thoracle.phantom.cohort import write_cohort
from thoracle.types import ABNORMALITIES, RESEARCH_USE


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "tiny"
    write_cohort(folder, cases=16, seed=3, workers=1)
    return folder


@pytest.fixture
def cohort(command, phantoms: Path, model_dir: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "cohort"
    ran = command("prepare", phantoms, "--layout", "ct-rate", "--out", folder, "--preprocess", model_dir / "config.json", "--workers", 1)
    assert ran.status == 0, ran.err
    return folder


def test_maps_are_scored_against_masks_and_a_stopped_run_goes_on(
    command, phantoms: Path, cohort: Path, model_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = ("evaluate", "explanation", model_dir, cohort, "--masks", phantoms, "--resamples", 50)
    ran = command(*asked, "--out", out)
    assert ran.status == 0, ran.err
    assert "UNTRAINED" in ran.out
    assert RESEARCH_USE in ran.out
    assert "NO BETTER THAN where findings usually lie" in ran.out
    assert "no box of lungs" not in ran.out
    assert RESEARCH_USE in (out / "explanation.html").read_text()
    assert f"To be cited: {CT_CLIP}." in (out / "explanation.html").read_text()
    found = json.loads((out / "explanation.json").read_text())
    truths = [json.loads(path.read_text()) for path in (phantoms / "truth").glob("valid*.json")]
    wanted = {name: sum(s["labels"][name] * len(s["volumes"]) for one in truths for s in one["scans"]) for name in ABNORMALITIES}
    counts = {name: found["found"].get(name, {"volumes": 0})["volumes"] for name in ABNORMALITIES}
    assert all(counts[name] <= wanted[name] for name in wanted)  # what is smaller than a voxel of the input may be between two
    assert sum(counts.values()) > 0.8 * sum(wanted.values()) > 0
    again = (out / "explanation.csv").read_text().splitlines(keepends=True)
    (out / "explanation.csv").write_text("".join(again[:2]))
    assert command(*asked, "--out", out).status == 0
    same = (out / "explanation.csv").read_text() == "".join(again)
    assert same, "the rows of a run that went on"
    rows = len(list(csv.reader(again)))
    assert rows == found["volumes"] + 1
    assert rows > 2
    assert not (model_dir / "localization.json").exists()


def test_leads_are_kept_with_the_model_where_that_is_asked_for(
    command, phantoms: Path, cohort: Path, model_dir: Path, tmp_path: Path
) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(model_dir, model)
    ran = command("evaluate", "explanation", model, cohort, "--masks", phantoms, "--resamples", 20, "--save-localization", "--out", out)
    assert ran.status == 0, ran.err
    (measured,) = read_localization(model, weights_sha256=open_model(model).weights_sha256).values()
    document = json.loads((out / "explanation.json").read_text())
    assert (
        measured.measured_on
        == f"{document['volumes']} volumes of {len(list((phantoms / 'truth').glob('valid*')))} phantom patients of split valid"
    )
    assert set(measured.findings) == set(document["found"]) - {"all abnormalities"}
    for name, finding in measured.findings.items():
        assert finding.lead["dice"].value == document["found"][name]["over"]["dice"]["better atlas"]["value"]
    assert any(finding.side for finding in measured.findings.values())


def test_masks_of_training_alone_are_no_reason_to_score_it(command, cohort: Path, phantoms: Path, model_dir: Path, tmp_path: Path) -> None:
    """The atlases are made of split train, whose own masks they would be compared with."""
    ran = command("evaluate", "explanation", model_dir, cohort, "--masks", phantoms, "--split", "train", "--out", tmp_path / "out")
    assert ran.status == 2
    assert "train" in ran.err


def test_masks_that_are_not_there_are_refused(command, noise: Path, model_dir: Path, phantoms: Path, tmp_path: Path) -> None:
    asked = ("evaluate", "explanation", model_dir, noise, "--out", tmp_path / "out", "--masks")
    ran = command(*asked, tmp_path)
    assert ran.status == 2
    assert "thoracle phantom" in ran.err
    others = tmp_path / "others"
    shutil.copytree(phantoms / "masks", others / "masks")
    for number, path in enumerate(sorted((others / "masks").rglob("*.nii.gz"))):
        path.rename(path.with_name(f"other{number}.nii.gz"))
    ran = command(*asked, others)
    assert ran.status == 2
    assert "mask" in ran.err

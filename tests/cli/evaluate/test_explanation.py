"""Phantoms made, prepared, and explained by a model that knows nothing: what the command does, and that it says so."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from thoracle.phantom.cohort import write_cohort
from thoracle.types import ABNORMALITIES, RESEARCH_USE


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "tiny"
    write_cohort(folder, cases=8, seed=3, workers=1)
    return folder


def test_maps_are_scored_against_masks_and_a_stopped_run_goes_on(command, phantoms: Path, model_dir: Path, tmp_path: Path) -> None:
    cohort, out = tmp_path / "cohort", tmp_path / "out"
    made = command("prepare", phantoms, "--layout", "ct-rate", "--out", cohort, "--preprocess", model_dir / "config.json", "--workers", 1)
    assert made.status == 0, made.err
    asked = ("evaluate", "explanation", model_dir, cohort, "--masks", phantoms, "--split", "train", "--resamples", 50)
    ran = command(*asked, "--out", out)
    assert ran.status == 0, ran.err
    assert "UNTRAINED" in ran.out
    assert RESEARCH_USE in ran.out
    assert "DOES NOT BEAT" in ran.out
    assert RESEARCH_USE in (out / "explanation.html").read_text()
    found = json.loads((out / "explanation.json").read_text())
    truths = [json.loads(path.read_text()) for path in (phantoms / "truth").glob("train*.json")]
    wanted = {name: sum(s["labels"][name] * len(s["volumes"]) for one in truths for s in one["scans"]) for name in ABNORMALITIES}
    counts = {name: found["found"].get(name, {"volumes": 0})["volumes"] for name in ABNORMALITIES}
    assert all(counts[name] <= wanted[name] for name in wanted)  # what is smaller than a voxel of the input may be between two
    assert sum(counts.values()) > 0.8 * sum(wanted.values()) > 0
    again = (out / "explanation.csv").read_text().splitlines(keepends=True)
    (out / "explanation.csv").write_text("".join(again[:3]))
    assert command(*asked, "--out", out).status == 0
    same = (out / "explanation.csv").read_text() == "".join(again)
    assert same, "the rows of a run that went on"
    rows = len(list(csv.reader(again)))
    assert rows == found["volumes"] + 1


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

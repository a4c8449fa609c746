"""`thoracle train regions`, from scans by way of a cohort to a model that `thoracle detect` takes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from thoracle.cohort.manifest import open_cohort
from thoracle.ct.read import read
from thoracle.inference.demo.assets import write_scan
from thoracle.inference.model import load
from thoracle.types import ABNORMALITIES

SPLITS = (*["train"] * 12, *["dev"] * 8, *["valid"] * 5)


@pytest.fixture
def sketches(start: Path, tmp_path: Path) -> Path:
    """Sketches of chests; whoever has an odd number has the first finding, whoever is in the second half of four the second."""
    root = tmp_path / "scans"
    root.mkdir()
    with (root / "scans.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "patient", "split", "findings", *ABNORMALITIES])
        for number, split in enumerate(SPLITS):
            sketch = nib.load(write_scan(root / f"{number}.nii.gz"))
            noise = np.random.default_rng(number).normal(0, 20, sketch.shape)
            nib.save(nib.Nifti1Image((np.asarray(sketch.dataobj) + noise).astype(np.int16), sketch.affine), sketch.get_filename())
            writer.writerow([f"{number}.nii.gz", number, split, "None.", number % 2, number % 4 // 2, *[0] * 16])
    return root


def test_a_cohort_becomes_a_model_that_detects(command, sketches: Path, start: Path, tmp_path: Path) -> None:
    cohort, out = tmp_path / "cohort", tmp_path / "regions"
    ran = command(
        "prepare",
        sketches,
        "--layout",
        "folder",
        "--preprocess",
        start / "config.json",
        "--out",
        cohort,
        "--keep-identifiers",
        "--workers",
        1,
    )
    assert ran.status == 0, ran.err
    boxes = [entry.box for entry in open_cohort(cohort).entries]
    assert all(box is not None and box.encloses == "lungs" for box in boxes)
    ran = command("train", "regions", start, cohort, "--out", out, "--device", "cpu")
    assert ran.status == 0, ran.err
    assert f"Left out, since all scans of split train have it or none has: {ABNORMALITIES[2]}" in ran.err
    assert "Macro average: " in ran.err
    assert "on 8 volumes of split dev" in ran.err
    assert {file.name for file in out.iterdir()} == {"README.md", "calibration.json", "config.json", "model.safetensors"}
    assert json.loads((out / "calibration.json").read_text())["fitted_on"] == "split dev: 8 volumes"
    ran = command("detect", sketches / "20.nii.gz", "--model", out, "--json", tmp_path / "findings.json")
    assert ran.status == 0, ran.err
    assert "phantoms only" in ran.out + ran.err
    findings = json.loads((tmp_path / "findings.json").read_text())
    assert [finding["abnormality"] for finding in findings["findings"]] == [*ABNORMALITIES[:2]]
    model = load(out, device="cpu")
    raw = model.read_regions(read(sketches / "20.nii.gz")).logits_BK[0].sigmoid().tolist()
    assert model.calibration is not None
    expected = model.calibration.probabilities(model.folder.labels, raw)
    assert [finding["probability"] for finding in findings["findings"]] == pytest.approx(expected, abs=1e-6)
    rows = list(csv.reader((cohort / "manifest.csv").open(newline="")))
    (valid,) = (row for row in rows if row[0].startswith("24."))
    valid[-1] = valid[-1].replace("lungs", "body")
    with (cohort / "manifest.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    ran = command("evaluate", "detection", out, cohort, "--protocol", "phantom", "--resamples", 5, "--out", tmp_path / "scores")
    assert ran.status == 0, ran.err
    assert "1 of 25 volumes are left out: no lungs were found in them" in ran.err
    assert f"Not scored, since the model does not know them: {', '.join(ABNORMALITIES[2:])}." in ran.err
    results = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert sorted(results["labels"]) == sorted(ABNORMALITIES[:2])
    assert len(list(csv.reader((tmp_path / "scores" / "predictions.csv").open()))) == 1 + 8 + 4


def test_a_cohort_of_an_earlier_thoracle_is_refused_with_its_cure(command, cohort: Path, start: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "cohort.json").write_bytes((cohort / "cohort.json").read_bytes())
    (old / "cache").symlink_to(cohort / "cache")
    rows = list(csv.reader((cohort / "manifest.csv").open(newline="")))
    with (old / "manifest.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(row[:-1] for row in rows)
    ran = command("train", "regions", start, old, "--out", tmp_path / "regions")
    assert ran.status == 2
    assert "says where its lungs are" in ran.err
    assert "Prepare the cohort anew" in ran.err
    assert not (tmp_path / "regions").exists()

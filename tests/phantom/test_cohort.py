from __future__ import annotations

import csv
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest

from thoracle.errors import InputError, OutputConflict
from thoracle.phantom.case import plan_cohort
from thoracle.phantom.cohort import write_cohort
from thoracle.phantom.imaging.metadata import COLUMNS
from thoracle.types import ABNORMALITIES

_CASES, _SEED = 14, 5


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("cohort")
    made = write_cohort(out, cases=_CASES, seed=_SEED, workers=1)
    assert made.scans == _CASES
    assert made.present == 0
    return out


@pytest.mark.slow
def test_more_workers_make_the_same_bytes(cohort, tmp_path):
    write_cohort(tmp_path / "two", cases=_CASES, seed=_SEED, workers=2)
    assert _hashes(tmp_path / "two") == _hashes(cohort)


def test_another_seed_makes_other_phantoms(cohort, tmp_path):
    write_cohort(tmp_path / "other", cases=2, seed=_SEED + 1, workers=1)
    first = "train/train_1/train_1_a/train_1_a_1.nii.gz"
    assert _hashes(tmp_path / "other")[first] != _hashes(cohort)[first]


def test_aligned_phantoms_are_another_cohort_of_the_same_persons(cohort, tmp_path):
    out = tmp_path / "aligned"
    write_cohort(out, cases=2, seed=_SEED, aligned=True, workers=1)
    first = "truth/train_1.json"
    aligned, lying = (json.loads((folder / first).read_text())["scans"][0] for folder in (out, cohort))
    assert aligned["labels"] == lying["labels"]
    assert aligned["volumes"][0]["PatientAge"] == lying["volumes"][0]["PatientAge"]
    assert aligned["volumes"][0]["ReconstructionDiameter"] != lying["volumes"][0]["ReconstructionDiameter"]
    with pytest.raises(OutputConflict, match="aligned"):
        write_cohort(out, cases=2, seed=_SEED, workers=1)


def test_a_killed_run_is_finished_without_redoing_anything(cohort, tmp_path):
    out = tmp_path / "killed"
    call = f"write_cohort(Path({str(out)!r}), cases={_CASES}, seed={_SEED}, workers=1)"
    code = f"from pathlib import Path; from thoracle.phantom.cohort import write_cohort; {call}"
    for goal in (2, 6):
        with subprocess.Popen([sys.executable, "-c", code]) as process:
            while process.poll() is None and len(list(out.glob("truth/*.json"))) < goal:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in out.glob("truth/*.json")}
    assert 2 <= len(before) < len(plan_cohort(_CASES, seed=_SEED))
    made = write_cohort(out, cases=_CASES, seed=_SEED, workers=1)
    assert made.present > 0
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    for left in out.rglob("*.tmp"):
        left.unlink()  # what the kill left half-written, under no published name
    assert _hashes(out) == _hashes(cohort)


def test_a_volume_taken_away_is_made_again(cohort, tmp_path):
    out = tmp_path / "again"
    write_cohort(out, cases=3, seed=_SEED, workers=1)
    whole = _hashes(out)
    next(out.glob("train/*/*/*.nii.gz")).unlink()
    write_cohort(out, cases=3, seed=_SEED, workers=1)
    assert _hashes(out) == whole


@pytest.fixture(scope="module")
def two_scans(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("two-scans")
    write_cohort(out, cases=2, seed=_SEED, workers=1)
    return out


@pytest.fixture
def finished(two_scans, tmp_path) -> Path:
    """A finished cohort of two scans, to be damaged."""
    return shutil.copytree(two_scans, tmp_path / "finished")


@pytest.mark.parametrize("folder", ["train", "masks/train"])
def test_a_volume_that_was_cut_is_made_again(finished, folder):
    """Of whatever length: a cut file is never taken for the volume."""
    intact = _hashes(finished)
    path = next(finished.glob(f"{folder}/*/*/*.nii.gz"))
    content = path.read_bytes()
    for length in (0, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        counts = write_cohort(finished, cases=2, seed=_SEED, workers=1)
        assert counts.present < counts.scans == 2
        assert _hashes(finished) == intact
    assert write_cohort(finished, cases=2, seed=_SEED, workers=1).present == 2


def _damages(content: str) -> dict[str, str]:
    return {
        "empty": "",
        "cut": content[: len(content) // 2],
        "cut by a brace": content.rstrip()[:-1],
        "text": "train_1",
        "a list": "[]",
        "bytes that are no text": "\0" * 20,
    }


@pytest.mark.parametrize("damage", _damages("{}"))
def test_damaged_facts_are_refused_with_their_name_and_mended_by_deleting_them(finished, damage):
    intact = _hashes(finished)
    path = sorted(finished.glob("truth/*.json"))[0]
    path.write_text(_damages(path.read_text())[damage])
    with pytest.raises(OutputConflict) as caught:
        write_cohort(finished, cases=2, seed=_SEED, workers=1)
    assert caught.value.source == str(path)
    assert "Delete this file" in caught.value.hint
    path.unlink()
    write_cohort(finished, cases=2, seed=_SEED, workers=1)
    assert _hashes(finished) == intact


@pytest.mark.parametrize("change", ["no scans", "a scan less", "no report", "no sizes", "another patient", "another volume", "texts"])
def test_facts_of_another_form_are_refused_with_their_name(finished, change):
    path = sorted(finished.glob("truth/*.json"))[0]
    facts = json.loads(path.read_text())
    match change:
        case "no scans":
            del facts["scans"]
        case "a scan less":
            facts["scans"].pop()
        case "no report":
            del facts["scans"][0]["report"]
        case "no sizes":
            del facts["bytes"]
        case "another patient":
            facts["patient"] = "train_7"
        case "another volume":
            facts["scans"][0]["volumes"][0]["VolumeName"] = "train_1_c_2.nii.gz"
        case "texts":
            facts["scans"] = ["train_1_a"]
    path.write_text(json.dumps(facts))
    with pytest.raises(OutputConflict, match="is not what was written") as caught:
        write_cohort(finished, cases=2, seed=_SEED, workers=1)
    assert caught.value.source == str(path)
    assert "Delete this file" in caught.value.hint


@pytest.mark.parametrize("damage", _damages("{}"))
def test_damaged_settings_are_refused_with_their_name(finished, damage):
    path = finished / "phantom.json"
    path.write_text(_damages(path.read_text())[damage])
    with pytest.raises(OutputConflict) as caught:
        write_cohort(finished, cases=2, seed=_SEED, workers=1)
    assert caught.value.source == str(path)
    assert "new folder" in caught.value.hint


def test_settings_that_say_nothing_are_those_of_another_cohort(finished):
    (finished / "phantom.json").write_text("{}")
    with pytest.raises(OutputConflict, match="cases, format, layout, preset, seed"):
        write_cohort(finished, cases=2, seed=_SEED, workers=1)


def test_paths_and_tables_are_ct_rates(cohort, data_dir):
    with (data_dir / "reports" / "ctrate_metadata_sample.csv").open(newline="") as file:
        assert tuple(next(csv.reader(file))) == COLUMNS
    for split, long in (("train", "train"), ("valid", "validation")):
        reports = _rows(cohort / f"radiology_text_reports/{long}_reports.csv")
        metadata = _rows(cohort / f"metadata/{long}_metadata.csv")
        labels = _rows(cohort / f"multi_abnormality_labels/{split}_predicted_labels.csv")
        names = [row["VolumeName"] for row in reports]
        assert names
        assert names == [row["VolumeName"] for row in metadata] == [row["VolumeName"] for row in labels]
        assert tuple(reports[0]) == ("VolumeName", "ClinicalInformation_EN", "Technique_EN", "Findings_EN", "Impressions_EN")
        assert tuple(labels[0]) == ("VolumeName", *ABNORMALITIES)
        for name in names:
            _, patient, visit, _ = name.split("_")
            assert (cohort / split / f"{split}_{patient}" / f"{split}_{patient}_{visit}" / name).is_file()


def test_some_patients_have_several_scans_and_every_sixth_patient_is_held_out():
    plans = plan_cohort(600, seed=0)
    assert sum(plan.visits for plan in plans) == 600
    assert 1.1 < 600 / len(plans) < 1.35
    assert len({plan.name for plan in plans}) == len(plans)
    assert 0.15 < np.mean([plan.split == "valid" for plan in plans]) < 0.18


def test_the_volumes_of_a_scan_differ_in_kernel_or_thickness(cohort):
    scans = [scan for path in sorted(cohort.glob("truth/*.json")) for scan in json.loads(path.read_text())["scans"]]
    several = [scan["volumes"] for scan in scans if len(scan["volumes"]) > 1]
    assert several
    for first, second in several:
        assert (first["ConvolutionKernel"], first["ZSpacing"]) != (second["ConvolutionKernel"], second["ZSpacing"])
        assert (first["StudyDate"], first["PatientAge"]) == (second["StudyDate"], second["PatientAge"])


def test_labels_are_what_the_masks_hold(cohort):
    for split in ("train", "valid"):
        for row in _rows(cohort / f"multi_abnormality_labels/{split}_predicted_labels.csv"):
            patient, scan = row["VolumeName"].rsplit("_", 2)[0], row["VolumeName"].rsplit("_", 1)[0]
            mask = np.asanyarray(nibabel.load(cohort / "masks" / split / patient / scan / row["VolumeName"]).dataobj)
            seen = int(np.bitwise_or.reduce(mask, axis=None))
            assert [seen >> i & 1 for i in range(18)] == [int(row[name]) for name in ABNORMALITIES]


def test_volumes_hold_hounsfield_units_with_the_rows_geometry(cohort):
    for split, long in (("train", "train"), ("valid", "validation")):
        for row in _rows(cohort / f"metadata/{long}_metadata.csv"):
            patient, scan = row["VolumeName"].rsplit("_", 2)[0], row["VolumeName"].rsplit("_", 1)[0]
            image = nibabel.load(cohort / split / patient / scan / row["VolumeName"])
            assert image.get_data_dtype() == np.int16
            assert image.shape == (int(row["Columns"]), int(row["Rows"]), int(row["NumberofSlices"]))
            assert image.header.get_zooms() == pytest.approx((*json.loads(row["XYSpacing"]), float(row["ZSpacing"])), rel=1e-6)
            first = np.array([-1, -1, 1]) * image.affine[:3, 3]
            assert first == pytest.approx(json.loads(row["ImagePositionPatient"]), abs=2e-3)
            hu = np.asanyarray(image.dataobj)
            middle = hu[hu.shape[0] // 2 - 8 : hu.shape[0] // 2 + 8].astype(float)
            assert np.percentile(hu[hu > -2000], 5) == pytest.approx(-1000, abs=40)
            assert -20 < np.percentile(middle, 75) < 160


def test_truth_has_findings_and_sentences(cohort):
    for path in sorted(cohort.glob("truth/*.json")):
        for scan in json.loads(path.read_text())["scans"]:
            assert {f["abnormality"] for f in scan["findings"]} == {name for name, present in scan["labels"].items() if present}
            for sentence in scan["sentences"]:
                column = scan["report"][sentence["section"]]
                assert column[sentence["start"] :].startswith(sentence["text"])


def test_the_other_layout(tmp_path):
    write_cohort(tmp_path, cases=3, seed=_SEED, layout="bimcv-r", workers=1)
    rows = _rows(tmp_path / "meta" / "curated_ct_report_path_En.csv")
    assert set(rows[0]) == {"Report_en", "path"}
    assert {tmp_path / row["path"] for row in rows} == set(tmp_path.glob("CT*/ct/*.nii.gz"))
    assert all((tmp_path / "masks" / row["path"]).is_file() for row in rows)


def test_what_makes_no_sense_is_refused(cohort, tmp_path):
    with pytest.raises(OutputConflict):
        write_cohort(cohort, cases=_CASES, seed=_SEED + 1)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputConflict):
        write_cohort(tmp_path, cases=1)
    for wrong in (
        {"cases": 0},
        {"cases": 1, "seed": -1},
        {"cases": 1, "preset": "huge"},
        {"cases": 1, "layout": "x"},
        {"cases": 1, "workers": 0},
    ):
        with pytest.raises(InputError):
            write_cohort(tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()

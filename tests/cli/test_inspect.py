"""What `thoracle inspect` prints: geometry, evidence, coverage and warnings, for people and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

NOTICE = "Research use only. Not a medical device."


def test_a_chest_is_described(command, sketch):
    ran = command("inspect", sketch)
    assert (ran.status, ran.err) == (0, "")
    for expected in (
        sketch.name,
        "128 x 112 x 88 int16, towards left, posterior, superior",
        "3 x 3 x 4 mm",
        "stored: HU = 1 x stored +0",
        "air or lung peaks at",
        "Chest yes",
        "litres of lung over",
        NOTICE,
    ):
        assert expected in ran.out
    assert "Warning" not in ran.out


@pytest.mark.parametrize("place", ["volumes/cip_ct-64.nrrd", "dicom/cip_ct64"])
def test_the_whole_chest_is_not_flagged(command, data_dir, place):
    ran = command("inspect", data_dir / place)
    assert ran.status == 0
    assert "Chest yes" in ran.out
    assert "Warning" not in ran.out


def test_the_abdomen_is_flagged(command, data_dir):
    ran = command("inspect", data_dir / "volumes/totalseg_example_ct.nii.gz")
    assert ran.status == 0
    assert "Chest no" in ran.out
    assert "Warning: This does not look like a chest" in ran.out


def test_what_was_declared_and_not_applied_is_said(command, golden_dir):
    scan, row = golden_dir / "preprocess/hu_stored.nii.gz", golden_dir / "preprocess/ctrate_v1_raw.json"
    ran = command("inspect", scan, "--metadata", row)
    assert "Not applied metadata row: slope 1, intercept -1024" in ran.out


def test_json_is_versioned_and_names_nobody(command, data_dir, tmp_path):
    folder = tmp_path / "Doe^Jane"
    folder.symlink_to(data_dir / "dicom/cip_ct64", target_is_directory=True)
    ran = command("inspect", "--json", folder)
    inspection = json.loads(ran.out)
    assert (inspection["schema"], inspection["notice"]) == ("thoracle.inspection/1", NOTICE)
    assert inspection["volume"]["shape"] == [64, 64, 79]
    assert inspection["volume"]["spacing_mm"] == pytest.approx([4.171872, 4.171872, 3.987342], abs=1e-5)
    assert inspection["quality"]["is_chest"] is True
    assert inspection["quality"]["warnings"] == []
    assert inspection["provenance"]["hounsfield"]["source"] == "RescaleSlope/RescaleIntercept"
    assert "Doe" not in ran.out
    assert str(tmp_path) not in ran.out
    for arguments in ((folder, "--json", "-"), ("--json", "-", folder), (folder, "--json")):
        assert command("inspect", *arguments).out == ran.out
    for arguments in ((folder, "-"), (folder, folder, "--json"), ("-", "--json")):
        assert command("inspect", *arguments).status in {1, 2}


def test_a_refused_scan_is_one_message_and_status_1(command, data_dir):
    scan = data_dir / "volumes/formats/njs_nifti2.nii.gz"
    ran = command("inspect", scan)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith(f"HounsfieldUnknown: {scan}: the numbers run from 0 to 255")
    assert "--hu stored" in ran.err


def test_a_segmentation_is_refused_as_such(command, data_dir):
    ran = command("inspect", data_dir / "volumes/totalseg_example_seg.nii.gz")
    assert ran.status == 1
    assert ran.err.startswith("NotCT")


def test_stated_units_are_taken(command, raw):
    assert command("inspect", raw).status == 1
    ran = command("inspect", "--hu", "stored", raw)
    assert ran.status == 0
    assert "Evidence stated by the user" in ran.out
    assert command("inspect", "--hu", "rescale", raw).status == 1


def test_few_slices_are_taken_when_asked(command, data_dir):
    assert "TooFewSlices" in command("inspect", "--min-slices", 17, data_dir / "dicom/lidc_0001").err
    ran = command("inspect", "--min-slices", 16, data_dir / "dicom/lidc_0001")
    assert "21% padding of -2048 set aside" in ran.out
    assert "cut at bottom and top" in ran.out


@pytest.mark.parametrize("arguments", [(), ("absent.nii",), ("--hu", "guess", "scan.nii")])
def test_a_wrong_command_is_status_2(command, arguments):
    assert command("inspect", *arguments).status == 2


@pytest.fixture
def raw(sketch: Path, tmp_path: Path) -> Path:
    """The sketch in numbers that start at 0, with nothing to say so."""
    image = nib.load(sketch)
    path = tmp_path / "raw.nii.gz"
    nib.save(nib.Nifti1Image((np.asanyarray(image.dataobj) + 1024).astype(np.int16), image.affine), path)
    return path

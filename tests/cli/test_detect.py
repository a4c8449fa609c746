from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

import thoracle
from thoracle.inference.calibration import Calibration, LabelCalibration, save_calibration
from thoracle.inference.demo.assets import write_model
from thoracle.models.bundle.model_folder import load_state_dict, open_model, save_model
from thoracle.types import ABNORMALITIES

Stopped = Callable[..., "subprocess.CompletedProcess[str]"]
NOTICE = "Research use only. Not a medical device."


@pytest.fixture
def tree(sketch: Path, tmp_path: Path) -> Path:
    """Five scans in CT-RATE's manner."""
    root = tmp_path / "scans"
    for number in range(5):
        folder = root / "valid" / f"valid_{number}"
        folder.mkdir(parents=True)
        shutil.copy(sketch, folder / f"valid_{number}_a_1.nii.gz")
    return root


def rows(path: Path) -> dict[str, list[str]]:
    with path.open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == ["VolumeName", "source_sha256", "series", *ABNORMALITIES]
    assert all(len(line) == 21 for line in lines)
    assert len({line[0] for line in lines}) == len(lines)
    return {line[0]: line[3:] for line in lines}


def not_a_chest(path: Path) -> Path:
    """A body without air in it."""
    left, posterior, _ = np.meshgrid(np.linspace(-1, 1, 80), np.linspace(-1, 1, 80), np.linspace(-1, 1, 40), indexing="ij")
    hu = np.where((left / 0.8) ** 2 + (posterior / 0.6) ** 2 < 1, 50, -1000) + np.random.default_rng(0).normal(0, 10, left.shape)
    nib.save(nib.Nifti1Image(hu.astype(np.int16), np.diag([-4.0, -4.0, 5.0, 1.0])), path)
    return path


def test_one_scan_is_a_table_of_18_probabilities(command, model_dir: Path, sketch: Path) -> None:
    ran = command("detect", sketch, "--model", model_dir)
    assert ran.status == 0, ran.err
    places = [ran.out.index(f"{name} 0.") for name in ABNORMALITIES]
    assert places == sorted(places)
    assert "UNTRAINED WEIGHTS: probabilities mean nothing." in ran.out
    assert open_model(model_dir).weights_sha256[:12] in ran.out
    assert NOTICE in ran.out
    assert re.search(r"load [\d.]+ s, prompts [\d.]+ s, read [\d.]+ s, preprocess [\d.]+ s, detect [\d.]+ s", ran.out)
    assert "█" in ran.out


def test_json_is_what_the_library_says(command, model_dir: Path, sketch: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "findings.json"
    assert command("detect", sketch, "--model", model_dir, "--json", path).status == 0
    assert json.loads(path.read_text()) == json.loads(json.dumps(thoracle.load(model_dir).detect(thoracle.read(sketch)).as_dict()))
    assert [p.name for p in path.parent.iterdir()] == ["findings.json"]


def test_a_dash_is_standard_output(command, model_dir: Path, sketch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = command("detect", sketch, "--model", model_dir, "--json", "-")
    assert ran.status == 0, ran.err
    expected = thoracle.load(model_dir).detect(thoracle.read(sketch)).as_dict()
    printed = json.loads(ran.out)
    assert printed.keys() == expected.keys()
    assert [finding["probability"] for finding in printed["findings"]] == pytest.approx(
        [finding["probability"] for finding in expected["findings"]], abs=1e-6
    )
    assert "Research use only" in ran.err, "the table is for people, and out of the way"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["missing.nii.gz"],
        ["SCAN", "--hu", "maybe"],
        ["SCAN", "--dtype", "float16"],
        ["SCAN", "--device", "abacus"],
        ["SCAN", "--min-slices", "0"],
        ["SCAN", "--check-precision"],
        ["SCAN", "--shard", "1/2"],
        ["SCAN", "--out", "x.csv", "--shard", "3/2"],
        ["SCAN", "--out", "x.csv", "--json", "x.json"],
        ["TREE"],
        [],
    ],
    ids=" ".join,
)
def test_a_wrong_command_ends_in_2(command, model_dir: Path, sketch: Path, tree: Path, arguments: list[str], monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    ran = command("detect", *({"SCAN": sketch, "TREE": tree}.get(one, one) for one in arguments), "--model", model_dir)
    assert ran.status == 2
    assert ran.err
    assert not (tmp_path / "x.csv").exists()


def test_a_scan_that_fails_ends_in_1_and_says_why(command, model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.nii.gz").write_bytes(b"\x1f\x8b\x08\x00 nothing more")
    ran = command("detect", tmp_path / "cut.nii.gz", "--model", model_dir)
    assert ran.status == 1
    assert "cut.nii.gz: " in ran.err


def test_a_folder_that_is_no_model_ends_in_1(command, sketch: Path, tmp_path: Path) -> None:
    ran = command("detect", sketch, "--model", tmp_path)
    assert ran.status == 1
    assert "ModelFolderInvalid" in ran.err


def test_an_output_that_cannot_be_written_is_one_line(command, model_dir: Path, sketch: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for option in ("--json", "--out"):
        ran = command("detect", sketch, "--model", model_dir, option, tmp_path / "file" / "below")
        assert ran.status == 1
        assert "file" in ran.err
        assert "Traceback" not in ran.err


def test_many_scans_fill_ct_rates_columns(command, model_dir: Path, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.csv"
    ran = command("detect", tree, "--model", model_dir, "--out", out)
    assert ran.status == 0, ran.err
    predictions = rows(out)
    assert list(predictions) == [f"valid_{n}_a_1.nii.gz" for n in range(5)]
    expected = thoracle.load(model_dir).detect(thoracle.read(tree / "valid" / "valid_0" / "valid_0_a_1.nii.gz")).probabilities
    assert [float(value) for value in predictions["valid_0_a_1.nii.gz"]] == pytest.approx(expected, abs=1e-6)
    assert "5 done, 0 done before, 0 failed" in ran.err
    assert NOTICE in ran.err
    assert "UNTRAINED" in ran.err


def test_one_failed_scan_does_not_stop_the_rest_and_is_tried_again(
    command, model_dir: Path, tree: Path, sketch: Path, tmp_path: Path
) -> None:
    broken = tree / "valid" / "valid_2" / "valid_2_a_1.nii.gz"
    broken.write_bytes(sketch.read_bytes()[:5000])
    out = tmp_path / "predictions.csv"
    ran = command("detect", tree, "--model", model_dir, "--out", out)
    assert ran.status == 1
    assert len(rows(out)) == 4
    (line,) = list(csv.DictReader((tmp_path / "predictions.errors.csv").open()))
    assert line["VolumeName"] == broken.name
    assert line["error"] == "TruncatedFile"
    assert line["message"]
    assert str(tree) not in line["message"]
    shutil.copy(sketch, broken)
    before = out.read_text()
    again = command("detect", tree, "--model", model_dir, "--out", out)
    assert again.status == 0
    assert "1 done, 4 done before, 0 failed" in again.err
    assert out.read_text().startswith(before)
    assert len(rows(out)) == 5
    assert not (tmp_path / "predictions.errors.csv").exists()


def test_another_model_does_not_continue_a_table(command, model_dir: Path, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.csv"
    command("detect", tree, "--model", model_dir, "--out", out)
    before = out.read_bytes()
    folder = open_model(model_dir)
    tensors = {**load_state_dict(folder), "temperature": torch.tensor(1.5)}
    save_model(
        tmp_path / "other",
        kind="ct-clip",
        config=folder.config,
        preprocess=folder.preprocess,
        labels=folder.labels,
        tensors=tensors,
        tokenizer=folder.tokenizer(),
        licence="none",
        trained=True,
    )
    ran = command("detect", tree, "--model", tmp_path / "other", "--out", out)
    assert ran.status == 1
    assert "OutputConflict" in ran.err
    assert out.read_bytes() == before


def test_shards_make_the_whole(command, model_dir: Path, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.csv"
    command("detect", tree, "--model", model_dir, "--out", out)
    parts: dict[str, list[str]] = {}
    for shard in ("1/3", "2/3", "3/3"):
        assert command("detect", tree, "--model", model_dir, "--out", out, "--shard", shard).status == 0
        part = rows(tmp_path / f"predictions.{shard[0]}-of-3.csv")
        assert not set(part) & set(parts)
        parts |= part
    assert parts == rows(out)


def test_more_shards_than_scans_are_no_error(command, model_dir: Path, sketch: Path, tmp_path: Path) -> None:
    assert command("detect", sketch, "--model", model_dir, "--out", tmp_path / "p.csv", "--shard", "2/2").status == 0
    assert rows(tmp_path / "p.2-of-2.csv") == {}


@pytest.mark.parametrize(("signal", "status", "kept"), [("KILL", -9, 2), pytest.param("INT", 130, 3, marks=pytest.mark.slow)])
def test_a_run_that_was_stopped_goes_on(
    command, stopped: Stopped, model_dir: Path, tree: Path, tmp_path: Path, signal: str, status: int, kept: int
) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "predictions.csv"
    command("detect", tree, "--model", model_dir, "--out", whole)
    ended = stopped(signal, "detect", tree, "--model", model_dir, "--out", out)
    assert ended.returncode == status, ended.stderr
    if signal == "INT":
        assert "the same command goes on" in " ".join(ended.stderr.split())
        assert out.read_bytes().endswith(b"\n")
        assert len(rows(out)) == kept
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    ran = command("detect", tree, "--model", model_dir, "--out", out)
    assert f"{5 - kept} done, {kept} done before" in ran.err
    assert out.read_bytes() == whole.read_bytes()


def test_ctrl_c_on_one_scan_leaves_nothing(model_dir: Path, sketch: Path, tmp_path: Path) -> None:
    stop = (
        "import os, signal, sys; from thoracle.files import atomic;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # a run in the background inherits that Ctrl-C is ignored
        "atomic.os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGINT);"
        "from thoracle.cli.app import main; main()"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", stop, "detect", sketch, "--model", model_dir, "--json", out / "findings.json"]
    ended = subprocess.run(command, capture_output=True, timeout=300, check=False)
    assert ended.returncode == 130
    assert list(out.iterdir()) == []


def test_a_table_with_metadata_is_a_list_of_scans(command, model_dir: Path, golden_dir: Path, tmp_path: Path) -> None:
    """CT-RATE v1: raw values and a blank header, made sense of by the row."""
    scan = golden_dir / "preprocess" / "ctrate_v1_raw.nii.gz"
    row = json.loads(scan.with_name("ctrate_v1_raw.json").read_text())
    row = {**row.get("metadata", row), "VolumeName": "valid_7_a_1.nii.gz"}
    row = {key: value for key, value in row.items() if not isinstance(value, dict)}
    shutil.copy(scan, tmp_path / "valid_7_a_1.nii.gz")
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, row)
        table.writeheader()
        table.writerow(row)
    ran = command("detect", tmp_path / "metadata.csv", "--model", model_dir, "--out", tmp_path / "a.csv")
    assert ran.status == 0, ran.err
    ran = command("detect", tmp_path / "valid_7_a_1.nii.gz", "--model", model_dir, "--out", tmp_path / "b.csv")
    assert "GeometryUnknown" in ran.err
    given = ("--metadata", tmp_path / "metadata.csv", "--out", tmp_path / "c.csv")
    assert command("detect", tmp_path / "valid_7_a_1.nii.gz", "--model", model_dir, *given).status == 0
    by_list, by_option = ([float(cell) for cell in rows(tmp_path / name)["valid_7_a_1.nii.gz"]] for name in ("a.csv", "c.csv"))
    assert by_list == pytest.approx(by_option, abs=2e-6)  # where memory lies decides the last bits


def test_what_is_not_a_chest_is_warned_of_and_refused_when_strict(command, model_dir: Path, tmp_path: Path) -> None:
    scan = not_a_chest(tmp_path / "body.nii.gz")
    ran = command("detect", scan, "--model", model_dir, "--json", tmp_path / "findings.json")
    assert ran.status == 0
    assert "Warning:" in ran.out
    warnings = json.loads((tmp_path / "findings.json").read_text())["warnings"]
    assert warnings
    ran = command("detect", scan, "--model", model_dir, "--strict")
    assert ran.status == 1
    assert "OutsideIntendedUse" in ran.err
    assert command("detect", scan, "--model", model_dir, "--out", tmp_path / "p.csv").status == 0
    kept = list(csv.DictReader((tmp_path / "p.warnings.csv").open()))
    assert [line["warning"] for line in kept] == warnings
    assert command("detect", scan, "--model", model_dir, "--out", tmp_path / "s.csv", "--strict").status == 1
    assert rows(tmp_path / "s.csv") == {}


def dicom_series(folder: Path, sketch: Path) -> Path:
    """The sketch as a series that names its patient everywhere it can."""
    folder.mkdir()
    image = nib.load(sketch)
    voxels, study, series = np.asanyarray(image.dataobj), generate_uid(), generate_uid()
    for k in range(voxels.shape[2]):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = CTImageStorage
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        one.PatientName, one.PatientID, one.AccessionNumber, one.PatientBirthDate = "SECRET^NAME", "SECRETID", "SECRETACC", "19500102"
        one.StudyDescription = one.SeriesDescription = "SECRETDESC"
        one.StudyInstanceUID, one.SeriesInstanceUID, one.Modality, one.InstanceNumber = study, series, "CT", k + 1
        one.ImageOrientationPatient, one.PixelSpacing, one.SliceThickness = [1, 0, 0, 0, 1, 0], [3, 3], 4
        one.ImagePositionPatient = [0, 0, 4 * k]
        one.FrameOfReferenceUID = study
        one.Rows, one.Columns = voxels.shape[1], voxels.shape[0]
        one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 1
        one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
        one.RescaleSlope, one.RescaleIntercept = 1, 0
        one.PixelData = np.ascontiguousarray(voxels[:, :, k].T).tobytes()
        pydicom.dcmwrite(folder / f"{k}.dcm", one, enforce_file_format=True)
    return folder


def test_no_identifier_leaves_the_scan(command, model_dir: Path, sketch: Path, tmp_path: Path) -> None:
    good, bad = dicom_series(tmp_path / "good", sketch), tmp_path / "bad"
    shutil.copytree(good, bad)
    (bad / "40.dcm").unlink()
    out = tmp_path / "out"
    printed = [
        command("detect", good, "--model", model_dir, "--json", out / "findings.json"),
        command("detect", bad, "--model", model_dir),
        command("detect", good, bad, "--model", model_dir, "--out", out / "predictions.csv"),
        command("embed", good, bad, "--model", model_dir, "--out", out / "latents.parquet", "--tokens", out / "tokens"),
    ]
    assert [ran.status for ran in printed] == [0, 1, 1, 1]
    assert set(rows(out / "predictions.csv")) == {"good"}
    written = [path.read_bytes() for path in [*out.rglob("*"), *model_dir.rglob("*")] if path.is_file()]
    written += [f"{ran.out}{ran.err}".encode() for ran in printed]
    assert len(written) > 10
    for secret in (b"SECRET", b"19500102", str(pydicom.dcmread(good / "0.dcm").SeriesInstanceUID).encode()):
        assert not [content for content in written if secret in content], secret
    files = [path.read_bytes() for path in out.rglob("*") if path.is_file()]
    assert not [content for content in files if str(tmp_path).encode() in content]


def test_a_study_with_one_fit_series_is_one_scan(command, model_dir: Path, sketch: Path, tmp_path: Path) -> None:
    dicom_series(tmp_path / "study", sketch)
    (tmp_path / "study" / "readme.txt").write_text("hello")
    assert command("detect", tmp_path / "study", "--model", model_dir).status == 0


def test_help_does_not_wait_for_torch() -> None:
    listing = "import sys; sys.argv = ['thoracle', '--help']; from thoracle.cli.app import main\ntry: main()\nexcept SystemExit: pass\n"
    check = "slow = {'torch', 'scipy', 'pydicom', 'pyarrow'} & set(sys.modules)\nassert not slow, slow"
    ended = subprocess.run([sys.executable, "-c", listing + check], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "detect" in ended.stdout


def test_bf16_says_what_it_changes_when_asked(command, model_dir: Path, sketch: Path) -> None:
    ran = command("detect", sketch, "--model", model_dir, "--dtype", "bf16", "--check-precision")
    assert ran.status == 0, ran.err
    assert re.search(r"bf16 against float32: \d+\.\d\d% of codes equal, latent cosine [01]\.\d{6}", ran.out)


def test_a_calibrated_model_says_so_and_gives_verdicts(command: Callable[..., Any], sketch: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    mending = LabelCalibration(slope=1.0, offset=0.0, rule_in_at=0.0, rule_out_at=1.0)
    kept = {"weights_sha256": model.weights_sha256, "prompts": model.prompts, "method": "platt", "coverage": 0.9, "fitted_on": "phantoms"}
    save_calibration(model.path, Calibration(**kept, mendings={"Cardiomegaly": mending}))
    ran = command("detect", sketch, "--model", model.path)
    assert ran.status == 0
    assert "At least 90% of verdicts are not the wrong one." in ran.out
    assert ran.out.count("cannot tell") == 1
    out = tmp_path / "predictions.csv"
    assert command("detect", sketch, "--model", model.path, "--out", out).status == 0
    (model.path / "calibration.json").unlink()
    again = command("detect", sketch, "--model", model.path, "--out", out)
    assert (again.status, "another calibration" in again.err) == (1, True)


@pytest.mark.parametrize("flat", [False, True], ids=["tree", "flat"])
def test_an_ordinary_dicom_archive_ends_without_failures_and_says_what_was_set_aside(
    command: Callable[..., Any], model_dir: Path, data_dir: Path, tmp_path: Path, flat: bool
) -> None:
    """PA/ST/SE, or all in one folder, with a report, a scout without the word and a localizer; two studies are two rows."""
    slices = [pydicom.dcmread(path) for path in sorted((data_dir / "dicom" / "cip_ct64").iterdir())]
    for patient in "12":
        for number, (count, fields) in enumerate(
            [
                (len(slices), {}),
                (1, {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}),
                (2, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
                (1, {"Modality": "SR"}),
            ]
        ):
            folder = tmp_path / "tree" if flat else tmp_path / "tree" / f"PA{patient}" / "ST1" / f"SE{number}"
            folder.mkdir(parents=True, exist_ok=True)
            for k, ds in enumerate(deepcopy(slices[:count])):
                ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = (
                    f"1.{patient}",
                    f"1.{patient}.{number}",
                    f"1.{patient}.{number}.{k}",
                )
                for keyword, content in fields.items():
                    setattr(ds, keyword, content)
                ds.save_as(folder / f"{ds.SOPInstanceUID}.dcm")
    ran = command("detect", tmp_path / "tree", "--model", model_dir, "--out", tmp_path / "out.csv")
    assert ran.status == 0, ran.err
    assert "6 DICOM series set aside: 2 x SR, 2 x localizer, 2 x scout." in ran.err
    assert "2 done, 0 done before, 0 failed" in ran.err
    digests = [sha256(f"1.{patient}.0".encode()).hexdigest()[:12] for patient in "12"]
    names = [f"tree/{digest}" for digest in digests] if flat else ["PA1/ST1/SE0", "PA2/ST1/SE0"]
    assert set(rows(tmp_path / "out.csv")) == set(names)
    if flat:
        listed = command("inspect", tmp_path / "tree")
        assert listed.status == 1
        assert "2 series could be meant" in listed.err
        assert "--series" in listed.err
        one = command("detect", tmp_path / "tree", "--series", "1.2.0", "--model", model_dir, "--out", tmp_path / "one.csv")
        assert one.status == 0, one.err
        assert sorted(rows(tmp_path / "one.csv")) == ["tree"]


def test_runs_of_one_table_never_take_another_scan_for_one_that_is_done(
    command: Callable[..., Any], model_dir: Path, sketch: Path, tmp_path: Path
) -> None:
    """A loop over patients whose files have one name: review A1."""
    out = tmp_path / "loop.csv"
    scans = [tmp_path / patient / "CT.nii.gz" for patient in ("p1", "p2")]
    for scan in scans:
        scan.parent.mkdir()
    shutil.copy(sketch, scans[0])
    not_a_chest(scans[1])
    for scan in scans:
        assert command("detect", scan, "--model", model_dir, "--out", out).status == 0
    model = thoracle.load(model_dir)
    for name, scan in (("CT.nii.gz", scans[0]), ("p2/CT.nii.gz", scans[1])):
        assert [float(value) for value in rows(out)[name]] == pytest.approx(model.detect(thoracle.read(scan)).probabilities, abs=1e-6)
    ran = command("detect", scans[1], "--model", model_dir, "--out", out)
    assert "0 done, 1 done before, 0 failed" in ran.err
    shutil.copy(sketch, scans[1])
    ran = command("detect", scans[1], "--model", model_dir, "--out", out)
    assert "p2/CT.nii.gz: the chosen series or the files have changed since its row was made; the row is replaced." in ran.err
    assert list(rows(out)) == ["CT.nii.gz", "p2/CT.nii.gz"]
    assert rows(out)["p2/CT.nii.gz"] == rows(out)["CT.nii.gz"]


def test_a_table_is_not_continued_with_other_options_of_reading(
    command: Callable[..., Any], model_dir: Path, sketch: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.csv"
    assert command("detect", sketch, "--model", model_dir, "--out", out).status == 0
    for option, setting in (
        (["--hu", "stored"], "hu"),
        (["--min-slices", 5], "min_slices"),
        (["--uneven", "resample"], "uneven"),
        (["--strict"], "strict"),
    ):
        ran = command("detect", sketch, "--model", model_dir, "--out", out, *option)
        assert (ran.status, f"was made with another {setting}" in ran.err) == (1, True)


def test_a_metadata_table_is_read_in_the_encoding_that_is_named(command, model_dir: Path, sketch: Path, tmp_path: Path) -> None:
    scan, table = tmp_path / "Göğüs.nii.gz", tmp_path / "rows.csv"
    shutil.copy(sketch, scan)
    table.write_bytes("VolumeName;RescaleSlope;RescaleIntercept\nGöğüs;1;0\n".encode("cp1254"))
    arguments = ("detect", scan, "--model", model_dir, "--metadata", table)
    ran = command(*arguments)
    assert (ran.status, "line 2 is not utf-8" in ran.err) == (1, True)
    assert command(*arguments, "--encoding", "cp1254").status == 0


@pytest.mark.parametrize("verb", ["detect", "embed"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.json"])
def test_a_metadata_table_of_other_scans_ends_the_command_at_once(
    command, model_dir: Path, sketch: Path, tmp_path: Path, verb: str, name: str
) -> None:
    """Not scan by scan, and before the model is read; where it is of some of them, how many is said."""
    (tmp_path / "scans").mkdir()
    for number in range(2):
        shutil.copy(sketch, tmp_path / "scans" / f"{number}.nii.gz")
    table, out = tmp_path / name, tmp_path / "out.parquet"
    content = {"rows.csv": "VolumeName,RescaleSlope\nother,1\n", "rows.json": '[{"VolumeName": "other", "RescaleSlope": 1}]'}[name]
    table.write_text(content)
    ran = command(verb, tmp_path / "scans", "--model", tmp_path / "none", "--metadata", table, "--out", out)
    assert (ran.status, ran.err.count("MetadataError")) == (1, 1), ran.err
    assert "none of its 1 rows is of any of 2 scans, the first of which is 0.nii.gz" in ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "scans"]
    table.write_text(content.replace("other", "1.nii.gz"))
    ran = command(verb, tmp_path / "scans", "--model", model_dir, "--metadata", table, "--out", out)
    assert (ran.status, "1 of 2 scans have a row in the table of --metadata." in ran.err) == (1, True), ran.err
    assert "1 done, 0 done before, 1 failed" in ran.err


def test_one_row_for_all_scans_is_no_table(command, model_dir: Path, sketch: Path, tmp_path: Path) -> None:
    (tmp_path / "row.json").write_text('{"VolumeName": "other", "RescaleSlope": 1}')
    ran = command("detect", sketch, "--model", model_dir, "--metadata", tmp_path / "row.json", "--out", tmp_path / "out.csv")
    assert (ran.status, "have a row" in ran.err) == (0, False), ran.err

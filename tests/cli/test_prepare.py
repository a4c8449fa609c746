from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.ct.dicom.chest_series import make_slice, write_series
from thoracle.cohort.manifest import open_cohort
from thoracle.config_reader import config_to_mapping
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.inference.demo.assets import write_scan
from thoracle.types import ABNORMALITIES

_SMALL = PreprocessConfig(spacing=(16.0, 12.0, 12.0), size=(20, 20, 24))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_scan(tmp_path / "archive" / "train" / "train_1" / "train_1_a" / "train_1_a_1.nii.gz")
    return tmp_path / "archive"


def test_an_archive_becomes_a_cohort_for_a_model(command, archive: Path, model_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = command("prepare", archive, "--layout", "ct-rate", "--out", out, "--preprocess", model_dir / "config.json")
    assert ran.status == 0, ran.err
    assert "1 of 1 volumes have no row in a table of reports." in ran.err
    assert re.search(r"1 volumes of [\d,]+ slices, 0 refused", ran.err)
    assert "Research use only" in ran.err
    assert config_to_mapping(open_cohort(out).preprocess) == json.loads((model_dir / "config.json").read_text())["preprocess"]
    assert {path.name for path in out.iterdir()} >= {"manifest.csv", "quality.csv", "quality.html", "cohort.json", "cache"}


def test_a_list_that_names_nothing_ends_with_2(command, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("VolumeName\nelsewhere\n")
    ran = command("prepare", archive, "--layout", "ct-rate", "--out", tmp_path / "out", "--only", tmp_path / "list.csv")
    assert (ran.status, "lists 1 volumes, and none of them is here" in ran.err) == (2, True), ran.err
    assert not (tmp_path / "out").exists()


def test_a_refused_scan_shows_in_the_status_and_on_the_terminal(command, archive: Path, tmp_path: Path) -> None:
    broken = archive / "train" / "train_2" / "train_2_a" / "train_2_a_1.nii.gz"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"\x1f\x8b nothing")
    (tmp_path / "p.json").write_text(json.dumps(config_to_mapping(_SMALL)))
    ran = command("prepare", archive, "--layout", "ct-rate", "--out", tmp_path / "out", "--preprocess", tmp_path / "p.json", "--workers", 1)
    assert ran.status == 0
    assert "train_2_a_1.nii.gz: CorruptFile" in ran.err
    assert "1 refused" in ran.err
    assert "/s " in ran.err, "scans a second"


def test_slices_whose_distance_changes_are_prepared_where_it_is_asked_for(command, tmp_path: Path) -> None:
    """The error of the one run recommends what the other one does."""
    archive = write_series(
        tmp_path / "archive" / "patient", lambda k: make_slice(k, ImagePositionPatient=[-160, -160, 20 * min(k, 7) + 10 * max(0, k - 7)])
    ).parent
    (tmp_path / "p.json").write_text(json.dumps(config_to_mapping(_SMALL)))
    options = ("--layout", "dicom", "--preprocess", tmp_path / "p.json", "--site-key", tmp_path / "key", "--workers", 1)
    refused = command("prepare", archive, "--out", tmp_path / "refused", *options)
    assert (refused.status, "SliceGap: slices change from 20 to 10 mm at slice 8 of 12" in refused.err) == (1, True), refused.err
    assert "--uneven resample" in refused.err
    ran = command("prepare", archive, "--out", tmp_path / "out", *options, "--uneven", "resample")
    assert (ran.status, "1 volumes of 19 slices, 0 refused" in ran.err) == (0, True), ran.err


@pytest.mark.parametrize(
    "option", [("--layout", "mimic"), ("--reconstruction", "sharp"), ("--workers", 0), ("--preprocess", "nowhere.json")]
)
def test_a_wrong_command_ends_with_2_and_writes_nothing(command, archive: Path, tmp_path: Path, option: tuple[str, object]) -> None:
    assert command("prepare", archive, "--layout", "ct-rate", "--out", tmp_path / "out", *option).status == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["ct-rate", "bimcv-r"])
def test_phantoms_pass_for_the_archive_that_they_are_laid_out_as(command, layout: str, tmp_path: Path) -> None:
    archive, out = tmp_path / "archive", tmp_path / "out"
    assert command("phantom", "--out", archive, "--num-scans", 9, "--seed", 5, "--layout", layout, "--workers", 1).status == 0
    (tmp_path / "p.json").write_text(json.dumps(config_to_mapping(_SMALL)))
    ran = command("prepare", archive, "--layout", layout, "--out", out, "--preprocess", tmp_path / "p.json", "--workers", 1)
    assert ran.status == 0, ran.err
    assert "as published" not in ran.err, "phantoms are no part of the archive"
    assert "have no row" not in ran.err
    assert "not in the folder" not in ran.err
    facts = [json.loads(path.read_text()) for path in archive.glob("truth/*.json")]
    entries = open_cohort(out).entries
    assert len(entries) == sum(len(scan["volumes"]) for patient in facts for scan in patient["scans"])
    assert len({entry.patient for entry in entries}) == len(facts)
    assert all(entry.report.text("both") for entry in entries)
    if layout == "ct-rate":
        labels = {row["VolumeName"]: scan["labels"] for patient in facts for scan in patient["scans"] for row in scan["volumes"]}
        assert all(dict(zip(ABNORMALITIES, entry.labels, strict=True)) == labels[entry.volume] for entry in entries)
        assert {entry.split.replace("dev", "train") for entry in entries} == {"train", "valid"}


def test_a_cohort_without_labels_is_labelled_by_its_reports(command, archive: Path, tmp_path: Path) -> None:
    text = "VolumeName,Findings_EN,Impressions_EN\ntrain_1_a_1.nii.gz,A nodule is seen in the lingula.,Not given.\n"
    (archive / "train_reports.csv").write_text(text)
    (tmp_path / "p.json").write_text(json.dumps(config_to_mapping(_SMALL)))
    given = ("prepare", archive, "--layout", "ct-rate", "--preprocess", tmp_path / "p.json", "--workers", 1)
    assert command(*given, "--out", tmp_path / "plain").status == 0
    (entry,) = open_cohort(tmp_path / "plain").entries
    assert set(entry.labels) == {None}
    ran = command(*given, "--out", tmp_path / "labelled", "--label")
    assert ran.status == 0, ran.err
    assert "1 volumes had no labels: these come from their reports, by rules." in ran.err
    (entry,) = open_cohort(tmp_path / "labelled").entries
    assert [name for name, value in zip(ABNORMALITIES, entry.labels, strict=True) if value] == ["Lung nodule"]
    assert json.loads((tmp_path / "labelled" / "cohort.json").read_text())["labelled_by"]["backend"] == "rules"
    assert command(*given, "--out", tmp_path / "labelled").status == 1, "another cohort"


def test_reports_in_another_encoding_are_refused_with_the_cure_that_reads_them(command, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(config_to_mapping(_SMALL)))
    (archive / "reports.csv").write_bytes("VolumeName;Findings_EN\ntrain_1_a_1;Kalp büyümüş, sağ\n".encode("cp1254"))
    arguments = (archive, "--layout", "ct-rate", "--out", tmp_path / "out", "--preprocess", tmp_path / "p.json", "--workers", 1)
    ran = command("prepare", *arguments)
    assert ran.status != 0
    assert "line 2 is not utf-8. It seems to be cp1254: give --encoding cp1254" in ran.err
    assert command("prepare", *arguments, "--encoding", "cp1254").status == 0
    assert open_cohort(tmp_path / "out").entries[0].report.findings == "Kalp büyümüş, sağ"
    (archive / "reports.csv").write_text("VolumeName,Findings_EN\nsomebody,Nodule.\n")
    ran = command("prepare", *arguments)
    assert ran.status != 0
    assert "none of 1 rows of reports" in ran.err


def _broken(archive: Path) -> Path:
    path = archive / "train" / "train_2" / "train_2_a" / "train_2_a_1.nii.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x1f\x8b nothing")
    return path


def test_refused_scans_are_counted_and_fail_the_command_only_where_that_is_wanted_or_nothing_is_left(
    command, archive: Path, tmp_path: Path
) -> None:
    _broken(archive)
    (tmp_path / "p.json").write_text(json.dumps(config_to_mapping(_SMALL)))
    given = ("prepare", archive, "--layout", "ct-rate", "--preprocess", tmp_path / "p.json", "--workers", 1)
    assert command(*given, "--out", tmp_path / "out").status == 0
    assert command(*given, "--out", tmp_path / "out", "--fail-on-refused").status == 1
    shutil.rmtree(archive / "train" / "train_1")
    ran = command(*given, "--out", tmp_path / "nothing")
    assert ran.status == 1
    assert "0 volumes of 0 slices, 1 refused" in ran.err


def test_what_is_gone_is_kept_until_it_is_pruned(command, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(config_to_mapping(_SMALL)))
    given = ("prepare", archive, "--layout", "ct-rate", "--preprocess", tmp_path / "p.json", "--workers", 1, "--out", tmp_path / "out")
    _broken(archive)
    assert command(*given).status == 0
    shutil.rmtree(archive / "train" / "train_1")
    ran = command(*given)
    assert (ran.status, "1 volumes are no longer in SRC; kept. --prune removes them." in ran.err) == (0, True)
    ran = command(*given, "--prune", "--verify", "--retry")
    assert (ran.status, "removed, as --prune says." in ran.err) == (1, True)
    assert open_cohort(tmp_path / "out").entries == ()


def test_the_options_that_errors_recommend_are_there(command, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(config_to_mapping(_SMALL)))
    (tmp_path / "m.csv").write_text("VolumeName,RescaleSlope\ntrain_1_a_1.nii.gz,1\n")
    given = ("prepare", archive, "--layout", "ct-rate", "--preprocess", tmp_path / "p.json", "--workers", 1)
    ran = command(*given, "--out", tmp_path / "out", "--hu", "stored", "--min-slices", 3, "--metadata", tmp_path / "m.csv")
    assert ran.status == 0, ran.err
    assert "1 of 1 volumes have a row in the table of --metadata." in ran.err
    settings = json.loads((tmp_path / "out" / "cohort.json").read_text())
    assert (settings["hu"], settings["min_slices"]) == ("stored", 3)
    assert command(*given, "--out", tmp_path / "other", "--series", "1.2").status == 2


def test_verifying_shows_how_far_it_is_and_what_it_found(command, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(config_to_mapping(_SMALL)))
    given = ("prepare", archive, "--layout", "ct-rate", "--preprocess", tmp_path / "p.json", "--workers", 1, "--out", tmp_path / "out")
    assert "verified" not in command(*given).err
    ran = command(*given, "--verify")
    assert ran.status == 0, ran.err
    assert re.search(r"verified .*1/1 [\d.,]+/s \d:\d\d:\d\d", ran.err), ran.err
    (cached,) = (tmp_path / "out" / "cache").glob("*/*.vol")
    content = bytearray(cached.read_bytes())
    content[len(content) // 2] ^= 1
    cached.write_bytes(content)
    ran = command(*given, "--verify")
    assert "1 cached volumes were missing or damaged; their scans were read again." in ran.err
    assert re.search(r"scans .*1/1 ", ran.err), ran.err
    assert command(*given[:-1], tmp_path / "new", "--verify").status == 0, "nothing is there to verify"

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thoracle.cohort.manifest import open_cohort
from thoracle.cohort.prepare import LAYOUTS, PrepareProgress, prepare
from thoracle.cohort.reconstruction import ReconstructionFilter
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.config_reader import config_to_mapping
from thoracle.ct.preprocess import preprocess
from thoracle.ct.read import read
from thoracle.errors import CohortUnfinished, InputError, LayoutMismatch, OutputConflict, SplitLeak

#: `prepare` of a child process, which gets SIGKILL at the n-th of the moments when something lies on the disk, or is about to.
_KILLED = """
import os, signal, sys
from pathlib import Path
from thoracle.cohort import prepare
from thoracle.ct.preprocess import PreprocessConfig
src, out, moment = sys.argv[1], sys.argv[2], int(sys.argv[3])
moments = [0]
def passing():
    moments[0] += 1
    if moments[0] == moment:
        os.kill(os.getpid(), signal.SIGKILL)
replace, write = Path.replace, os.write
def slow_replace(self, target):
    passing(); result = replace(self, target); passing(); return result
def cut_write(handle, content):
    if moments[0] + 1 == moment:
        write(handle, content[: len(content) // 2])
    passing(); return write(handle, content)
Path.replace, os.write = slow_replace, cut_write
prepare.prepare(src, layout="ct-rate", out=out, preprocess=PreprocessConfig(spacing=(16.0, 12.0, 12.0), size=(16, 20, 24)))
print(moments[0])
"""

#: `prepare` by two workers; one that reads the named volume kills itself.
_DEADLY = """
import os, signal, sys
from thoracle.cohort import prepare, worker
from thoracle.ct.preprocess import PreprocessConfig
src, out, deadly = sys.argv[1:]
read = worker.read
def read_or_die(path, **options):
    if path.name == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(path, **options)
worker.read = read_or_die
if __name__ == "__main__":
    config = PreprocessConfig(spacing=(16.0, 12.0, 12.0), size=(16, 20, 24))
    print(prepare.prepare(src, layout="ct-rate", out=out, preprocess=config, workers=2).refused)
"""


def _rows(out: Path) -> list[dict[str, str]]:
    with (out / "quality.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _child(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", _KILLED, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


def _content(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_ct_rate_becomes_a_manifest_and_a_cache_of_what_a_model_is_given(ct_rate: Path, small, tmp_path: Path) -> None:
    done = prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small)
    assert (done.volumes, done.slices, done.refused, done.absent) == (5, 100, 0, 0)
    known = "CT-RATE as published has 50,188 volumes of 25,692 scans and 21,304 patients"
    assert done.notes == (f"{known}; here are 5 volumes of 4 scans and 3 patients.",)
    cohort = open_cohort(tmp_path / "out")
    assert cohort.preprocess == small
    assert [(entry.volume, entry.scan, entry.patient, entry.split) for entry in cohort.entries] == [
        ("train_1_a_1.nii.gz", "train_1_a", "train_1", "train"),
        ("train_1_a_2.nii.gz", "train_1_a", "train_1", "train"),
        ("train_1_b_1.nii.gz", "train_1_b", "train_1", "train"),
        ("train_2_a_1.nii.gz", "train_2_a", "train_2", "train"),
        ("valid_1_a_1.nii.gz", "valid_1_a", "valid_1", "valid"),
    ]
    entry = cohort.entries[1]
    source = next(ct_rate.rglob("train_1_a_2.nii.gz"))
    volume = read(source)
    assert np.abs(read_volume(tmp_path / "out" / entry.cache) - preprocess(volume, small)).max() <= 0.0005001
    assert entry.source_sha256 == volume.provenance.sha256
    assert entry.report.text("impression") == "Nodule 1."
    assert entry.labels == tuple(int(k == 1) for k in range(18))


def test_partial_downloads_are_named_and_not_failed(ct_rate: Path, small, tmp_path: Path) -> None:
    next(ct_rate.rglob("train_2_a_1.nii.gz")).unlink()
    shutil.rmtree(ct_rate / "dataset" / "metadata")
    (ct_rate / "dataset" / "radiology_text_reports" / "validation_reports.csv").unlink()
    done = prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small)
    assert (done.volumes, done.refused, done.absent) == (4, 0, 1)
    assert done.notes[:-1] == (
        "1 of 4 volumes have no row in a table of reports.",
        "4 of 4 volumes have no row in a table of metadata.",
    )
    assert [(row["VolumeName"], row["status"]) for row in _rows(tmp_path / "out") if row["status"] == "absent"] == [
        ("train_2_a_1.nii.gz", "absent")
    ]
    page = (tmp_path / "out" / "quality.html").read_text()
    assert "train_2_a_1.nii.gz" in page
    assert "4 of 4 volumes have no row in a table of metadata." in page


def test_a_refused_scan_is_reported_and_does_not_stop_the_rest(ct_rate: Path, small, tmp_path: Path) -> None:
    broken = next(ct_rate.rglob("train_1_b_1.nii.gz"))
    broken.write_bytes(broken.read_bytes()[:5000])
    seen: list[PrepareProgress] = []
    done = prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small, progress=seen.append)
    assert (done.volumes, done.refused) == (4, 1)
    assert [now.outcome.volume for now in seen if now.outcome.error] == ["train_1_b_1.nii.gz"]
    assert [(now.completed, now.total, now.before) for now in seen] == [(n, 5, 0) for n in range(1, 6)]
    refused = [row for row in _rows(tmp_path / "out") if row["status"] == "refused"]
    assert [(row["VolumeName"], row["error"]) for row in refused] == [("train_1_b_1.nii.gz", "TruncatedFile")]
    for name in ("quality.csv", "quality.html", "journal.jsonl", "manifest.csv", "cohort.json"):
        assert str(tmp_path) not in (tmp_path / "out" / name).read_text()


def _recorded(journal: Path) -> set[str]:
    """The volumes of its whole lines."""
    lines = journal.read_text().split("\n")[:-1] if journal.exists() else []
    return {json.loads(line)["volume"] for line in lines}


@pytest.mark.slow
def test_killed_at_any_moment_it_finishes_without_redoing_or_losing_anything(ct_rate: Path, small, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    prepare(ct_rate, layout="ct-rate", out=whole, preprocess=small)
    moments = int(_child(ct_rate, tmp_path / "counted", 10_000).stdout)
    assert moments > 15
    for moment in (1, moments, *random.Random(0).sample(range(2, moments), 5)):
        out = tmp_path / f"killed-{moment}"
        assert _child(ct_rate, out, moment).returncode == -signal.SIGKILL
        recorded = _recorded(out / "journal.jsonl")
        again: list[PrepareProgress] = []
        prepare(ct_rate, layout="ct-rate", out=out, preprocess=small, progress=again.append)
        assert {now.outcome.volume for now in again} == {entry.volume for entry in open_cohort(out).entries} - recorded
        assert _content(out) == _content(whole)


@pytest.mark.slow
def test_several_workers_change_nothing(ct_rate: Path, small, tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text(json.dumps(config_to_mapping(small)))
    for workers in ("1", "2"):
        options = ("--layout", "ct-rate", "--out", tmp_path / workers, "--preprocess", tmp_path / "small.json", "--workers", workers)
        subprocess.run([sys.executable, "-m", "thoracle", "prepare", ct_rate, *options], check=True, capture_output=True, timeout=120)
    one, two = _content(tmp_path / "1"), _content(tmp_path / "2")
    for content in (one, two):
        content["journal.jsonl"] = b"\n".join(sorted(content["journal.jsonl"].splitlines()))
    assert one == two


def test_a_scan_that_kills_its_workers_is_refused_by_name_and_read_again_by_the_next_run(ct_rate: Path, small, tmp_path: Path) -> None:
    out, script, name = tmp_path / "out", tmp_path / "deadly.py", "train_1_b_1.nii.gz"
    script.write_text(_DEADLY)
    ran = subprocess.run([sys.executable, script, ct_rate, out, name], capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "1")
    (refused,) = (row for row in _rows(out) if row["status"] == "refused")
    assert (refused["VolumeName"], refused["error"]) == (name, "WorkerKilled")
    assert "killed at 2 of 2 tries" in refused["message"]
    assert len(open_cohort(out).entries) == 4
    again: list[PrepareProgress] = []
    done = prepare(ct_rate, layout="ct-rate", out=out, preprocess=small, progress=again.append)
    assert (done.volumes, done.refused) == (5, 0)
    assert [now.outcome.volume for now in again] == [name]


def test_a_cached_volume_that_was_lost_or_a_scan_that_changed_is_done_again(ct_rate: Path, small, write_chest, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(ct_rate, layout="ct-rate", out=out, preprocess=small)
    entries = {entry.volume: entry for entry in open_cohort(out).entries}
    (out / entries["train_1_a_1.nii.gz"].cache).unlink()
    write_chest(next(ct_rate.rglob("valid_1_a_1.nii.gz")), 77, 11.0)
    again: list[PrepareProgress] = []
    prepare(ct_rate, layout="ct-rate", out=out, preprocess=small, progress=again.append)
    assert {now.outcome.volume for now in again} == {"train_1_a_1.nii.gz", "valid_1_a_1.nii.gz"}
    after = {entry.volume: entry for entry in open_cohort(out).entries}
    assert after["train_1_a_1.nii.gz"] == entries["train_1_a_1.nii.gz"]
    assert after["valid_1_a_1.nii.gz"].cache != entries["valid_1_a_1.nii.gz"].cache
    assert len(list((out / "cache").glob("*/*"))) == 5, "the volume that is no longer used is gone"


def test_a_refused_scan_is_not_read_again_until_it_changes(ct_rate: Path, small, write_chest, tmp_path: Path) -> None:
    broken = next(ct_rate.rglob("train_1_b_1.nii.gz"))
    broken.write_bytes(broken.read_bytes()[:5000])
    again: list[PrepareProgress] = []
    prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small)
    assert prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small, progress=again.append).refused == 1
    assert again == []
    write_chest(broken, 2, 11.0)
    assert prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small).refused == 0


def test_one_scan_under_two_patients_of_unlike_splits_is_a_leak(ct_rate: Path, small, tmp_path: Path) -> None:
    shutil.copy(next(ct_rate.rglob("train_2_a_1.nii.gz")), next(ct_rate.rglob("valid_1_a_1.nii.gz")))
    with pytest.raises(SplitLeak, match=r"train_2_a_1\.nii\.gz in train, valid_1_a_1\.nii\.gz in valid"):
        prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small)
    assert (tmp_path / "out" / "quality.html").exists()
    with pytest.raises(CohortUnfinished):
        open_cohort(tmp_path / "out")


def test_one_patient_in_both_folders_is_a_leak_before_anything_is_read(ct_rate: Path, small, write_chest, tmp_path: Path) -> None:
    write_chest(ct_rate / "dataset" / "valid_fixed" / "train_2" / "train_2_b" / "train_2_b_1.nii.gz", 9)
    with pytest.raises(SplitLeak, match="patient"):
        prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small)
    assert {row["status"]: row["VolumeName"] for row in _rows(tmp_path / "out")} == {"leak": "train_2_b_1.nii.gz"}
    assert not (tmp_path / "out" / "cache").exists()


def test_a_reconstruction_is_chosen_and_what_is_left_out_is_said(ct_rate: Path, small, tmp_path: Path) -> None:
    choice = ReconstructionFilter.parse("kernel=Br4*,B")
    done = prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small, reconstruction=choice)
    volumes = [entry.volume for entry in open_cohort(tmp_path / "out").entries]
    assert volumes == ["train_1_a_1.nii.gz", "train_1_b_1.nii.gz", "valid_1_a_1.nii.gz"]
    assert done.notes[:-1] == (
        "2 volumes were left out, as --reconstruction kernel=Br4*,B says.",
        "1 scans have no such reconstruction.",
    )
    with pytest.raises(OutputConflict, match="another reconstruction"):
        prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small)


def test_what_makes_no_sense_is_refused_before_anything_is_written(ct_rate: Path, small, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for arguments in ({"layout": "nifti"}, {"layout": "ct-rate", "workers": 0}):
        with pytest.raises(InputError):
            prepare(ct_rate, out=out, **arguments)
    for layout in LAYOUTS:
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(LayoutMismatch):
            prepare(tmp_path / "empty", layout=layout, out=out, keep_ids=True)
    assert not out.exists()
    with pytest.raises(OutputConflict, match="holds no cohort"):
        prepare(ct_rate, layout="ct-rate", out=ct_rate, preprocess=small)


def test_a_second_run_at_the_same_time_is_refused(ct_rate: Path, small, tmp_path: Path) -> None:
    def meanwhile(_: PrepareProgress) -> None:
        with pytest.raises(OutputConflict, match="another run"):
            prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small)

    prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small, progress=meanwhile)


def test_a_full_disk_is_no_scans_fault(ct_rate: Path, small, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(ct_rate, layout="ct-rate", out=out, preprocess=small)
    shutil.rmtree(out / "cache")
    (out / "cache").write_text("in the way")
    with pytest.raises(OSError, match="cache"):
        prepare(ct_rate, layout="ct-rate", out=out, preprocess=small)
    os.unlink(out / "cache")
    assert prepare(ct_rate, layout="ct-rate", out=out, preprocess=small).volumes == 5


def test_real_chests_are_prepared_from_dicom_and_from_a_folder(data_dir: Path, write_table, small, tmp_path: Path) -> None:
    key = tmp_path / "site.key"
    done = prepare(data_dir / "dicom" / "cip_ct64", layout="dicom", out=tmp_path / "a", preprocess=small, site_key=key)
    assert (done.volumes, done.refused) == (1, 0)
    root = tmp_path / "scans"
    root.mkdir()
    shutil.copy(data_dir / "volumes" / "cip_ct-64.nrrd", root)
    write_table(root / "scans.csv", [{"path": "cip_ct-64.nrrd", "patient": "a", "report": "Emphysema."}])
    assert prepare(root, layout="folder", out=tmp_path / "b", preprocess=small, keep_ids=True).volumes == 1
    one, other = (open_cohort(tmp_path / name) for name in "ab")
    volumes = [read_volume(cohort.folder / cohort.entries[0].cache) for cohort in (one, other)]
    assert np.abs(volumes[0] - volumes[1]).max() <= 0.001
    assert Counter(entry.report.findings for entry in other.entries) == {"Emphysema.": 1}


def test_judging_can_be_left_out(ct_rate: Path, small, tmp_path: Path) -> None:
    for judge in (True, False):
        prepare(ct_rate, layout="ct-rate", out=tmp_path / str(judge), preprocess=small, judge=judge)
    assert {row["status"] for row in _rows(tmp_path / "True")} == {"noted", "read", "warned"}
    assert {row["status"] for row in _rows(tmp_path / "False")} == {"noted", "read"}
    judged, unjudged = (open_cohort(tmp_path / name).entries for name in ("True", "False"))
    assert all(entry.box is not None for entry in judged)
    assert tuple(replace(entry, box=None) for entry in judged) == unjudged  # the box is of the lungs that judging finds


def test_a_list_is_prepared_alone_and_the_rest_can_come_later(ct_rate: Path, small, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"volume,source_sha256\ntrain_1_a_2.nii.gz,{'1' * 64}\nvalid_1_a_1,\nelsewhere,\n")
    read = list[str]()

    def run(only: Path | None) -> tuple[list[str], tuple[str, ...]]:
        read.clear()
        done = prepare(
            ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small, only=only,
            progress=lambda progress: read.append(progress.outcome.volume),
        )  # fmt: skip
        return [entry.volume for entry in open_cohort(tmp_path / "out").entries], done.notes

    listed = ["train_1_a_2.nii.gz", "valid_1_a_1.nii.gz"]
    volumes, notes = run(tmp_path / "list.csv")
    assert (volumes, sorted(read)) == (listed, listed)
    assert "2 volumes are listed in list.csv; 1 of the 3 listed are not here." in notes
    volumes, _ = run(None)
    assert (len(volumes), len(read), {*read} & {*listed}) == (5, 3, set()), "what is in the cache is not read again"
    assert run(tmp_path / "list.csv")[0] == listed
    assert read == []
    (tmp_path / "none.csv").write_text("volume\nelsewhere\n")
    with pytest.raises(InputError, match="none of them is here"):
        run(tmp_path / "none.csv")
    assert len(open_cohort(tmp_path / "out").entries) == 2


def test_who_is_in_dev_is_counted_on_the_page_and_stays_train_in_the_manifest(ct_rate: Path, small, tmp_path: Path) -> None:
    prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small, dev_share=0.99)
    cohort = open_cohort(tmp_path / "out")
    members = [entry for entry in cohort.entries if entry.split == "dev"]
    counts = len({entry.patient for entry in members}), len({entry.scan for entry in members}), len(members)
    assert min(counts) > 0
    page = (tmp_path / "out" / "quality.html").read_text()
    assert f"<td>dev<td>{counts[0]}<td>{counts[1]}<td>{counts[2]}<td>" in page
    assert "Split dev, which training is evaluated on, has fewer than 20 scans with: " in page
    assert ",dev," not in (tmp_path / "out" / "manifest.csv").read_text()
    with pytest.raises(OutputConflict, match="another dev_share"):
        prepare(ct_rate, layout="ct-rate", out=tmp_path / "out", preprocess=small, dev_share=0)

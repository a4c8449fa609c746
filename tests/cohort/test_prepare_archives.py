"""`prepare` on archives that come in parts, change, break and lie beside its own output: what it keeps, tries again, and never tells."""

from __future__ import annotations

import csv
import json
import re
import shutil
from hashlib import sha256
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from thoracle.cohort import prepare as prepare_module
from thoracle.cohort import worker
from thoracle.cohort.manifest import open_cohort
from thoracle.cohort.prepare import PreparationSummary, PrepareProgress, prepare
from thoracle.cohort.pseudonyms import SiteKey
from thoracle.cohort.reconstruction import ReconstructionFilter
from thoracle.cohort.samples.dataset import CohortDataset
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.errors import BudgetExceeded, CacheDamaged, CodecCrashed, InputError, MetadataError, OutputConflict, SplitLeak

NAMES = ["train_1_a_1.nii.gz", "train_1_a_2.nii.gz", "train_1_b_1.nii.gz", "train_2_a_1.nii.gz", "valid_1_a_1.nii.gz"]


def _rows(out: Path, *statuses: str) -> list[dict[str, str]]:
    with (out / "quality.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["status"] in statuses]


def _cached(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in (out / "cache").glob("*/*")}


def _names(out: Path) -> list[str]:
    return [entry.volume for entry in open_cohort(out).entries]


class Run:
    """`run(...)` prepares with the same small settings, and notes the volumes that were read."""

    def __init__(self, source: Path, out: Path, **options: object) -> None:
        self.source, self.out, self.options = source, out, options
        self.read: list[str] = []

    def __call__(self, **options: object) -> PreparationSummary:
        self.read = []

        def note(progress: PrepareProgress) -> None:
            self.read.append(progress.outcome.volume)

        return prepare(self.source, out=self.out, progress=note, **{**self.options, **options})  # type: ignore[arg-type]


@pytest.fixture
def rate(ct_rate: Path, small, tmp_path: Path) -> Run:
    return Run(ct_rate, tmp_path / "out", layout="ct-rate", preprocess=small, judge=False)


@pytest.fixture
def hospital(tmp_path: Path, write_chest, write_table, small) -> Run:
    """Four scans of two patients in a folder with a table of everything, under pseudonyms of a key of its own."""
    root = tmp_path / "hospital"
    rows = []
    for number, (patient, scan, date) in enumerate(
        [("0734912", "S9", "20180105"), ("0734912", "S1", "20200301"), ("5550001", "S4", ""), ("0734912", "S5", "20190707")]
    ):
        write_chest(root / f"scan{number}.nii.gz", number, 12.0)
        rows.append(
            {
                "path": f"scan{number}.nii.gz",
                "patient": patient,
                "scan": scan,
                "StudyDate": date,
                "XYSpacing": "[9.0, 9.0]",
                "ZSpacing": "12.0",
                "report": f"Report {number}.",
                "split": "train",
            }
        )
    write_table(root / "scans.csv", rows)
    return Run(root, tmp_path / "out", layout="folder", preprocess=small, judge=False, site_key=tmp_path / "site.key")


# What was made is kept


def test_volumes_whose_source_is_gone_stay_until_they_are_pruned(rate: Run) -> None:
    rate()
    before, cached = open_cohort(rate.out).entries, _cached(rate.out)
    shutil.rmtree(next(rate.source.rglob("train_1")))
    done = rate()
    assert (done.volumes, done.refused, rate.read) == (5, 0, [])
    assert "3 volumes are no longer in SRC; kept. --prune removes them." in done.notes
    assert open_cohort(rate.out).entries == before
    assert _cached(rate.out) == cached
    assert {row["VolumeName"] for row in _rows(rate.out, "kept")} == set(NAMES[:3])
    pruned = rate(prune=True)
    assert pruned.volumes == 2
    assert "3 volumes are no longer in SRC; removed, as --prune says." in pruned.notes
    assert _names(rate.out) == NAMES[3:]
    assert _cached(rate.out) == {entry.cache for entry in before[3:]}


def test_an_archive_that_is_downloaded_and_deleted_part_by_part_becomes_one_whole_cohort(rate: Run, tmp_path: Path) -> None:
    whole = Run(rate.source, tmp_path / "whole", **rate.options)
    whole()
    away = tmp_path / "away"
    parts = {name: next(rate.source.rglob(name)) for name in NAMES}
    places = {name: place.relative_to(rate.source) for name, place in parts.items()}
    for name in NAMES:
        (away / places[name]).parent.mkdir(parents=True, exist_ok=True)
        parts[name].rename(away / places[name])
    for name in NAMES:
        (away / places[name]).rename(parts[name])
        rate()
        assert rate.read == [name]
        parts[name].unlink()
    assert open_cohort(rate.out).entries == open_cohort(whole.out).entries
    assert _cached(rate.out) == _cached(whole.out)


def test_a_mount_that_is_half_there_costs_nothing_and_is_taken_up_again_unread(rate: Run) -> None:
    rate()
    before, lost = open_cohort(rate.out).entries, next(rate.source.rglob("train_2_a_1.nii.gz"))
    lost.rename(lost.with_name("away"))
    lost.symlink_to("nowhere.nii.gz")
    done = rate()
    assert (done.volumes, done.refused) == (5, 1)
    assert "1 volumes cannot be read at present; kept as they were." in done.notes
    assert open_cohort(rate.out).entries == before
    assert rate(prune=True).volumes == 5, "a link is there: it is unreadable, not gone"
    lost.unlink()
    lost.with_name("away").rename(lost)
    assert (rate().refused, rate.read) == (0, [])


def test_a_row_of_a_folders_table_whose_file_is_gone_is_kept_too(hospital: Run) -> None:
    hospital()
    before = open_cohort(hospital.out).entries
    (hospital.source / "scan1.nii.gz").unlink()
    done = hospital()
    assert (done.volumes, done.refused) == (4, 1)
    assert "1 volumes are no longer in SRC; kept. --prune removes them." in done.notes
    assert open_cohort(hospital.out).entries == before, "reports, visits and all"
    assert hospital(prune=True).volumes == 3


def test_a_scan_that_was_replaced_by_a_damaged_one_leaves_the_cohort_and_its_old_volume_stays_on_the_disk(rate: Run) -> None:
    rate()
    cached, scan = _cached(rate.out), next(rate.source.rglob("train_2_a_1.nii.gz"))
    content = scan.read_bytes()
    scan.write_bytes(content[: len(content) // 2])
    assert (rate().refused, "train_2_a_1.nii.gz" in _names(rate.out)) == (1, False)
    assert rate().refused == 1
    assert _cached(rate.out) == cached
    rate(prune=True)
    assert len(_cached(rate.out)) == 4


def test_where_one_volume_of_a_scan_is_wanted_one_that_is_gone_gives_way(rate: Run) -> None:
    second = next(rate.source.rglob("train_1_a_2.nii.gz"))
    first = next(rate.source.rglob("train_1_a_1.nii.gz"))
    choice = ReconstructionFilter.parse("thickness=10")
    away = second.with_name("away")
    rate(reconstruction=choice)
    assert "train_1_a_2.nii.gz" in _names(rate.out)
    second.rename(away)
    rate(reconstruction=choice)
    assert [name for name in _names(rate.out) if name.startswith("train_1_a")] == ["train_1_a_1.nii.gz"]
    first.unlink()
    rate(reconstruction=choice)
    assert [name for name in _names(rate.out) if name.startswith("train_1_a")] == ["train_1_a_1.nii.gz"], "kept: the scan has no other"


def test_a_patient_of_whom_kept_scans_lie_in_another_split_is_a_leak(rate: Run, write_chest) -> None:
    rate()
    shutil.rmtree(next(rate.source.rglob("train_2")))
    write_chest(rate.source / "dataset" / "valid_fixed" / "train_2" / "train_2_b" / "train_2_b_1.nii.gz", 9)
    with pytest.raises(SplitLeak, match=r"train_2_a_1\.nii\.gz in train, train_2_b_1\.nii\.gz in valid"):
        rate()
    assert _names(rate.out) == NAMES, "the manifest of before stands"
    assert rate(prune=True).volumes == 5


def test_what_a_stopped_run_cached_and_no_manifest_names_is_kept_and_said(rate: Run) -> None:
    def stop(progress: PrepareProgress) -> None:
        if progress.completed == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(rate.source, out=rate.out, progress=stop, **rate.options)  # type: ignore[arg-type]
    shutil.rmtree(next(rate.source.rglob("train_1")))
    done = rate()
    assert (done.volumes, len(_cached(rate.out))) == (2, 4)
    assert any(note.startswith("2 cached volumes have no row in the manifest") for note in done.notes)
    rate(prune=True)
    assert len(_cached(rate.out)) == 2
    assert not any("no row" in note for note in rate().notes)


# Nothing that could tell a patient


def test_no_hash_in_a_pseudonymised_cohort_depends_on_who_the_patient_is(hospital: Run, tmp_path: Path) -> None:
    """Two hospitals with the same scans, of other patients with other reports: what is unkeyed is alike to the last digit."""
    hospital()
    table = hospital.source / "scans.csv"
    table.write_text(table.read_text().replace("0734912", "1111111").replace("Report", "Other words"))
    other = Run(hospital.source, tmp_path / "other", **hospital.options)
    other()
    assert _cached(hospital.out) == _cached(other.out)
    stamps = [
        sorted(json.loads(line)["stamp"] for line in (run.out / "journal.jsonl").read_text().splitlines()) for run in (hospital, other)
    ]
    assert stamps[0] == stamps[1]


def test_a_patients_number_is_not_recovered_by_trying_them_all(hospital: Run) -> None:
    """The attack of the review: the row as the table has it, for every number of a range, hashed as a cache name or a stamp could be."""
    hospital()
    texts = "".join(path.read_text(errors="replace") for path in hospital.out.glob("*.*"))
    names = "".join(_cached(hospital.out))
    metadata = {"XYSpacing": "[9.0, 9.0]", "ZSpacing": "12.0"}
    with (hospital.source / "scans.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    for number in range(734900, 734925):
        for fields in (row | {"patient": f"{number:07}"}, metadata | {"patient": f"{number:07}"}, f"{number:07}"):
            digest = sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
            assert digest[:32] not in texts + names
    assert "0734912" not in texts
    assert not any(date in texts for date in ("20180105", "2018-01-05", "20200301"))


def test_an_edited_report_is_taken_up_and_nothing_is_read_again(hospital: Run) -> None:
    hospital()
    table = hospital.source / "scans.csv"
    table.write_text(table.read_text().replace("Report 2.", "Corrected."))
    cached = _cached(hospital.out)
    hospital()
    assert (hospital.read, _cached(hospital.out)) == ([], cached)
    assert "Corrected." in {entry.report.findings for entry in open_cohort(hospital.out).entries}
    table.write_text(table.read_text().replace("12.0", "12.00"))
    hospital()
    assert len(hospital.read) == 4, "what decides the voxels was edited"


def test_columns_of_ct_rates_table_that_decide_no_voxel_change_no_stamp(rate: Run) -> None:
    rate()
    table = next(rate.source.rglob("train_metadata.csv"))
    table.write_text(table.read_text().replace("Br60f", "Br64f"))
    rate()
    assert rate.read == []


# Its own output is no archive


@pytest.mark.parametrize("place", ["cohort", "dataset/cohorts/first"])
def test_a_cohort_inside_the_archive_is_made_and_grows(rate: Run, write_chest, place: str) -> None:
    rate.out = rate.source / place
    rate()
    before = open_cohort(rate.out).entries
    rate()
    assert (rate.read, open_cohort(rate.out).entries) == ([], before)
    write_chest(rate.source / "dataset" / "train_fixed" / "train_3" / "train_3_a" / "train_3_a_1.nii.gz", 31)
    assert (rate().volumes, rate.read) == (6, ["train_3_a_1.nii.gz"])


def test_two_cohorts_inside_a_folder_with_a_table_do_not_see_each_other(hospital: Run) -> None:
    for out in ("one", "two", "one", "two"):
        hospital.out = hospital.source / out
        assert hospital().volumes == 4


def test_a_cohort_inside_a_tree_of_dicom_is_not_looked_through(data_dir: Path, small, tmp_path: Path) -> None:
    root = tmp_path / "pacs"
    shutil.copytree(data_dir / "dicom" / "cip_ct64", root / "study", copy_function=shutil.copyfile)
    run = Run(root, root / "out", layout="dicom", preprocess=small, judge=False, site_key=tmp_path / "site.key")
    done = run()
    (root / "out" / "cache" / "stray.dcm").write_bytes(b"of another run")
    again = run()
    assert (done.volumes, again.volumes, run.read, again.notes) == (1, 1, [], done.notes)


# Damage


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def test_damage_that_size_does_not_show_is_found_and_mended_by_verify(rate: Run) -> None:
    rate()
    entries = {entry.volume: entry for entry in open_cohort(rate.out).entries}
    path = rate.out / entries["train_1_b_1.nii.gz"].cache
    pristine = path.read_bytes()
    _flip(path)
    rate()
    assert rate.read == [], "a run that does not verify trusts the size"
    with pytest.raises(CacheDamaged, match=r"`thoracle prepare` with --verify"):
        read_volume(path)
    done = rate(verify=True)
    assert rate.read == ["train_1_b_1.nii.gz"]
    assert "1 cached volumes were missing or damaged; their scans were read again." in done.notes
    assert path.read_bytes() == pristine
    assert rate(verify=True).notes[:-1] == ()
    assert rate.read == []
    assert len(CohortDataset(rate.out, split="train")[2].volume) > 0


def test_two_cached_volumes_that_were_exchanged_are_damage_too(rate: Run) -> None:
    rate()
    first, second = (rate.out / entry.cache for entry in open_cohort(rate.out).entries[:2])
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    rate(verify=True)
    assert sorted(rate.read) == NAMES[:2]
    assert (first.read_bytes(), second.read_bytes()) == contents


def test_damage_of_a_volume_whose_scan_is_gone_is_refused_by_name_and_mended_when_it_is_back(rate: Run) -> None:
    rate()
    entry, scan = open_cohort(rate.out).entries[3], next(rate.source.rglob(NAMES[3]))
    content = scan.read_bytes()
    _flip(rate.out / entry.cache)
    scan.unlink()
    done = rate(verify=True)
    assert (done.volumes, done.refused) == (4, 1)
    assert [(row["VolumeName"], row["error"]) for row in _rows(rate.out, "refused")] == [(NAMES[3], "CacheDamaged")]
    scan.write_bytes(content)
    assert (rate(verify=True).refused, _names(rate.out)) == (0, NAMES)


# Reasons that pass


@pytest.mark.parametrize(
    "error",
    [
        BudgetExceeded("its pixels did not decode within 60 s", hint="Wait."),
        CodecCrashed("the codec crashed on its pixels", hint="Try again."),
        MemoryError(),
        PermissionError(13, "Permission denied"),
        TimeoutError(110, "Connection timed out"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_reason_that_passes_is_never_remembered(rate: Run, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    read = worker.read

    def busy(path: Path, **options: object) -> object:
        if path.name == NAMES[3]:
            raise error
        return read(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(worker, "read", busy)
    assert rate().refused == 1
    monkeypatch.undo()
    assert (rate().refused, rate.read) == (0, [NAMES[3]])


def test_a_refusal_that_stays_is_tried_again_by_retry_or_by_another_version(rate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = next(rate.source.rglob(NAMES[3]))
    broken.write_bytes(broken.read_bytes()[:3000])
    assert rate().refused == 1
    assert (rate().refused, rate.read) == (1, [])
    assert (rate(retry=True).refused, rate.read) == (1, [NAMES[3]])
    monkeypatch.setattr("thoracle.cohort.preparation.retention.__version__", "99.0")
    assert (rate().refused, rate.read) == (1, [NAMES[3]])


# Settings


def test_another_version_of_the_reader_uses_nothing_that_this_one_cached(rate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rate()
    cached = _cached(rate.out)
    shutil.rmtree(next(rate.source.rglob("valid_1")))
    for module in ("worker", "preparation.retention"):
        monkeypatch.setattr(f"thoracle.cohort.{module}.VOXELS_VERSION", 2)
    done = rate()
    assert sorted(rate.read) == NAMES[:4]
    assert "1 of the kept were made by another version of the reader; put their scans back to read them again." in done.notes
    assert len(_cached(rate.out) & cached) == 1


def test_of_two_starts_at_once_with_other_settings_one_refuses_and_the_cohort_is_of_the_others(rate: Run, small) -> None:
    def meanwhile(progress: PrepareProgress) -> None:
        for options in ({"min_slices": 5}, {"hu": "stored"}):
            with pytest.raises(OutputConflict, match="another run"):
                prepare(rate.source, out=rate.out, layout="ct-rate", preprocess=small, **options)  # type: ignore[arg-type]

    prepare(rate.source, out=rate.out, progress=meanwhile, **rate.options)  # type: ignore[arg-type]
    settings = json.loads((rate.out / "cohort.json").read_text())
    assert (settings["min_slices"], settings["hu"]) == (10, "auto")


def test_settings_are_claimed_by_who_holds_the_lock(rate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interleaving of the review: another start claims between the look at the settings and the lock."""
    order: list[str] = []
    lock, claim = prepare_module.exclusive_lock, prepare_module.claim
    monkeypatch.setattr(prepare_module, "exclusive_lock", lambda *values, **options: order.append("lock") or lock(*values, **options))
    monkeypatch.setattr(prepare_module, "claim", lambda *values: order.append("claim") or claim(*values))
    rate()
    assert order == ["lock", "claim"]


@pytest.mark.parametrize(("option", "value"), [("hu", "stored"), ("min_slices", 12)])
def test_how_scans_are_read_is_a_setting(rate: Run, option: str, value: object) -> None:
    rate()
    with pytest.raises(OutputConflict, match=f"another {option}"):
        rate(**{option: value})


# Options that errors recommend


def test_units_that_cannot_be_told_are_read_as_hu_says(hospital: Run, small, tmp_path: Path) -> None:
    path = hospital.source / "scan0.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj) + np.int16(400), image.affine), path)  # type: ignore[attr-defined]
    hospital()
    assert [(row["error"], "--hu" in row["message"]) for row in _rows(hospital.out, "refused")] == [("HounsfieldUnknown", True)]
    stored = Run(hospital.source, tmp_path / "stored", **hospital.options, hu="stored")
    assert stored().refused == 0


def test_a_short_scan_is_read_where_min_slices_allows_it(rate: Run, tmp_path: Path) -> None:
    path = next(rate.source.rglob(NAMES[4]))
    image = nib.load(path)
    nib.save(image.slicer[:, :, :9], path)  # type: ignore[attr-defined]
    rate()
    assert [(row["error"], "--min-slices" in row["message"]) for row in _rows(rate.out, "refused")] == [("TooFewSlices", True)]
    short = Run(rate.source, tmp_path / "short", **rate.options, min_slices=9)
    assert short().refused == 0


def test_a_metadata_table_goes_before_the_archives_and_reads_again_only_what_it_speaks_of(rate: Run, write_table, tmp_path: Path) -> None:
    blank = next(rate.source.rglob(NAMES[4]))
    nib.save(nib.Nifti1Image(np.asanyarray(nib.load(blank).dataobj), np.eye(4)), blank)  # type: ignore[attr-defined]
    for table in rate.source.rglob("*metadata.csv"):
        table.unlink()
    assert rate().refused == 1
    table = write_table(tmp_path / "rows.csv", [{"VolumeName": NAMES[4], "XYSpacing": "[9.0, 9.0]", "ZSpacing": 11.0}])
    done = rate(metadata=table)
    assert (done.refused, rate.read) == (0, [NAMES[4]])
    assert "1 of 5 volumes have a row in the table of --metadata." in done.notes
    with pytest.raises(MetadataError, match="none of its 1 rows"):
        rate(metadata=write_table(tmp_path / "other.csv", [{"VolumeName": "x", "XYSpacing": "[9.0, 9.0]", "ZSpacing": 11.0}]))


def test_a_series_that_is_not_there_is_a_wrong_command(hospital: Run) -> None:
    with pytest.raises(InputError, match=r"no series in the archive.*--series 1\.2"):
        hospital(series=["1.2"])
    assert not hospital.out.exists()


# The order of visits


def test_the_order_of_visits_is_kept_without_their_dates(hospital: Run, tmp_path: Path) -> None:
    hospital()
    key = SiteKey.load(tmp_path / "site.key", outside=hospital.out)
    entries = {entry.report.findings: entry for entry in open_cohort(hospital.out).entries}
    assert {report: entry.visit for report, entry in entries.items()} == {"Report 0.": 1, "Report 3.": 2, "Report 1.": 3, "Report 2.": None}
    assert {entry.facts.date for entry in entries.values()} == {"2018", "2019", "2020", ""}
    assert entries["Report 0."].patient == key.patient("0734912")


def test_the_order_of_visits_is_kept_where_the_first_scan_is_gone(hospital: Run) -> None:
    hospital()
    before = open_cohort(hospital.out).entries
    (hospital.source / "scan0.nii.gz").unlink()
    hospital()
    assert open_cohort(hospital.out).entries == before
    table = hospital.source / "scans.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join((lines[0], *lines[2:])) + "\n")
    hospital()
    assert open_cohort(hospital.out).entries == before


# Leaks, provenance


def test_every_leak_is_listed(rate: Run) -> None:
    for train, valid in (("train_1_b_1", "valid_2_a_1"), ("train_2_a_1", "valid_3_a_1")):
        source = next(rate.source.rglob(f"{train}.nii.gz"))
        target = rate.source / "dataset" / "valid_fixed" / valid[:7] / valid[:9] / f"{valid}.nii.gz"
        target.parent.mkdir(parents=True)
        shutil.copy(source, target)
    for table in rate.source.rglob("*metadata.csv"):
        table.unlink()
    with pytest.raises(SplitLeak, match=r"2 times one scan .*train_1_b_1.*valid_2_a_1.*train_2_a_1.*valid_3_a_1"):
        rate()
    volumes = [row["VolumeName"] for row in _rows(rate.out, "leak")]
    assert volumes == [f"{name}.nii.gz" for name in ("train_1_b_1", "valid_2_a_1", "train_2_a_1", "valid_3_a_1")]


def test_where_each_volume_comes_from_stands_in_the_quality_report(rate: Run) -> None:
    rate()
    read = {row["VolumeName"]: row["message"] for row in _rows(rate.out, "read")}
    assert sorted(read) == NAMES
    assert all(re.fullmatch(r"NIfTI-1; HU = 1 x stored \+ 0, stored \(.*\); geometry from .*\.", message) for message in read.values())
    noted = _rows(rate.out, "noted")
    assert {row["VolumeName"] for row in noted} == set(NAMES)
    assert all(row["message"].startswith("Not applied: ") and "-1024" in row["message"] for row in noted)


def test_a_page_of_an_archive_draws_its_tables(rate: Run) -> None:
    rate()
    page = (rate.out / "quality.html").read_text()
    for title, label, count in [
        ("Slices, volumes (100 slices in all)", "0 to 100", 5),
        ("From slice to slice in mm, volumes", "11.0 to 11.5", 3),
        ("From pixel to pixel in mm, volumes", "9.0 to 9.1", 5),
        ("Kernels, volumes", "B", 2),
        ("Ages in years, scans", "unknown", 4),
    ]:
        chart = page[page.index(f"<h2>{title}") :]
        assert re.match(rf"<h2>[^<]*</h2><table>.*?<td>{label}<td class=bars>.*?<td>{count}<", chart), title


def test_all_combinations_of_options_leave_a_whole_cohort(rate: Run) -> None:
    for prune, verify, retry in product((False, True), repeat=3):
        assert rate(prune=prune, verify=verify, retry=retry).volumes == 5
        assert (_names(rate.out), rate.read if prune or verify or retry else []) == (NAMES, [])

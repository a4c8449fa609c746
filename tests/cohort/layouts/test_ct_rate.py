from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from thoracle.cohort.layouts.ct_rate import find
from thoracle.cohort.manifest import open_cohort
from thoracle.cohort.prepare import prepare
from thoracle.cohort.samples.volume_cache import read_volume
from thoracle.ct.preprocess import PreprocessConfig, preprocess
from thoracle.ct.read import read
from thoracle.errors import LayoutMismatch, MetadataError


def test_names_tell_patient_scan_and_split_and_tables_the_rest(ct_rate: Path) -> None:
    listing = find(ct_rate)
    assert (listing.absent, listing.notes) == ((), ())
    assert [source.volume for source in listing.sources] == sorted(path.name for path in ct_rate.rglob("*.nii.gz"))
    source = listing.sources[1]
    assert (source.scan, source.patient, source.split) == ("train_1_a", "train_1", "train")
    assert (source.kernel, source.slice_spacing_mm) == ("Br60f", 10.0)
    assert source.metadata == {"XYSpacing": "[9.0, 9.0]", "RescaleIntercept": "-1024", "RescaleSlope": "1", "ZSpacing": "10.0"}
    assert source.report.impression == "Nodule 1."
    assert source.labels.index(1) == 1
    assert find(ct_rate / "dataset") == listing, "the folder below does as well"


def test_tables_are_found_by_their_columns_wherever_they_lie(ct_rate: Path) -> None:
    listing = find(ct_rate)
    for number, table in enumerate(sorted(ct_rate.rglob("*.csv"))):
        shutil.move(table, ct_rate / f"table-{number}.csv")
    assert find(ct_rate) == listing


def test_masks_and_other_files_beside_are_no_volumes(ct_rate: Path, write_chest) -> None:
    listing = find(ct_rate)
    write_chest(ct_rate / "dataset" / "masks" / "train" / "train_1" / "train_1_a" / "train_1_a_1.nii.gz")
    (ct_rate / "dataset" / "train_fixed" / "train_1" / "train_1_a" / "train_1_a_1.nii.gz.incomplete").write_bytes(b"")
    write_chest(ct_rate / "dataset" / "train_fixed" / "train_1" / "train_1_a" / "copy.nii.gz")
    again = find(ct_rate)
    assert again.sources == listing.sources
    assert again.notes == ("1 files are not named as CT-RATE names volumes, and were left out.",)


def test_of_both_versions_the_second_is_taken(ct_rate: Path, write_chest) -> None:
    write_chest(ct_rate / "dataset" / "train" / "train_1" / "train_1_a" / "train_1_a_1.nii.gz")
    write_chest(ct_rate / "dataset" / "train" / "train_9" / "train_9_a" / "train_9_a_1.nii.gz")
    listing = find(ct_rate)
    assert {source.volume: source.path.parts[-4] for source in listing.sources}["train_1_a_1.nii.gz"] == "train_fixed"
    assert {source.volume: source.path.parts[-4] for source in listing.sources}["train_9_a_1.nii.gz"] == "train"
    assert "1 volumes are there in both versions; the second, from the _fixed folders, is taken." in listing.notes


def test_the_first_version_takes_units_and_places_from_its_table(golden_dir: Path, write_table, tmp_path: Path) -> None:
    where = tmp_path / "train" / "train_1" / "train_1_a"
    where.mkdir(parents=True)
    shutil.copy(golden_dir / "preprocess" / "ctrate_v1_raw.nii.gz", where / "train_1_a_1.nii.gz")
    row = json.loads((golden_dir / "preprocess" / "ctrate_v1_raw.json").read_text())
    columns = ("RescaleSlope", "RescaleIntercept", "XYSpacing", "ZSpacing")
    row = {"VolumeName": "train_1_a_1.nii.gz"} | {column: row[column] for column in columns}
    write_table(tmp_path / "metadata" / "train_metadata.csv", [row])
    config = PreprocessConfig(spacing=(6.0, 6.0, 6.0), size=(40, 50, 50))
    assert prepare(tmp_path, layout="ct-rate", out=tmp_path / "out", preprocess=config).volumes == 1
    entry = open_cohort(tmp_path / "out").entries[0]
    expected = preprocess(read(where / "train_1_a_1.nii.gz", metadata=row), config)
    assert np.abs(read_volume(tmp_path / "out" / entry.cache) - expected).max() <= 0.0005001
    (tmp_path / "metadata" / "train_metadata.csv").unlink()
    assert prepare(tmp_path, layout="ct-rate", out=tmp_path / "without", preprocess=config).refused == 1


def test_columns_of_the_published_metadata_are_understood(data_dir: Path, write_chest, tmp_path: Path) -> None:
    with (data_dir / "reports" / "ctrate_metadata_sample.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shutil.copy(data_dir / "reports" / "ctrate_metadata_sample.csv", tmp_path)
    for row in rows[:3]:
        split, patient, scan, _ = row["VolumeName"].split("_")
        write_chest(tmp_path / split / f"{split}_{patient}" / f"{split}_{patient}_{scan}" / row["VolumeName"])
    listing = find(tmp_path)
    assert len(listing.absent) == len(rows) - 3
    assert {source.volume: (source.kernel, source.slice_spacing_mm) for source in listing.sources} == {
        "valid_106_a_2.nii.gz": ("B", 0.75),
        "valid_498_a_1.nii.gz": ("YA", 1.5),
        "valid_517_a_1.nii.gz": ("Br40f", 1.0),
    }


def test_rows_that_contradict_each_other_are_an_error_and_a_bad_label_refuses_its_scan(ct_rate: Path, write_table) -> None:
    write_table(ct_rate / "mine.csv", [{"VolumeName": "train_1_a_1", "Medical material": "maybe"}])
    with pytest.raises(MetadataError, match="unlike that in"):
        find(ct_rate)
    for table in (ct_rate / "dataset" / "multi_abnormality_labels").iterdir():
        table.unlink()
    faults = {source.volume: source.error for source in find(ct_rate).sources}
    assert "must be 0 or 1" in str(faults.pop("train_1_a_1.nii.gz"))
    assert set(faults.values()) == {None}


def test_another_folder_is_no_ct_rate(tmp_path: Path) -> None:
    with pytest.raises(LayoutMismatch, match="train_1_a_1"):
        find(tmp_path)

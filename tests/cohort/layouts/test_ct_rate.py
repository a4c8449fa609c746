from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
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


def rewrite(table: Path, change: Callable[[str], str], encoding: str = "utf-8") -> None:
    table.write_bytes(change(table.read_text()).encode(encoding))


def tables(root: Path) -> list[Path]:
    return sorted(root.rglob("*.csv"))


def semicolons(text: str) -> str:
    rows = [[re.sub(r"^([\d]+)\.(\d+)$", r"\1,\2", cell) for cell in row] for row in csv.reader(io.StringIO(text))]
    out = io.StringIO()
    csv.writer(out, delimiter=";").writerows(rows)
    return out.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(semicolons, id="Excel in half of Europe"),
        pytest.param(lambda text: text.replace(".nii.gz", ".nii.gz "), id="blanks behind names"),
        pytest.param(lambda text: text.replace(".nii.gz", ""), id="no extension"),
        pytest.param(lambda text: re.sub(r"(\w+_a_\d|\w+_b_\d)\.nii\.gz", r"D:\\\\data\\\\\1.nii.gz", text), id="folders of Windows"),
        pytest.param(lambda text: text + text.splitlines(keepends=True)[-1] if "Findings" not in text else text, id="a row twice"),
        pytest.param(lambda text: "\ufeff" + text.replace("\r\n", "\n") + "\n,,\n", id="a mark, and blank lines"),
        pytest.param(lambda text: text.replace("Lung nodule", "lung  NODULE ").replace("VolumeName", " VolumeName "), id="columns"),
    ],
)
def test_tables_as_people_hand_them_over_say_the_same(ct_rate: Path, change: Callable[[str], str]) -> None:
    listing = find(ct_rate)
    for table in tables(ct_rate):
        rewrite(table, change)
    again = find(ct_rate)
    assert again.notes == ()
    for before, after in zip(listing.sources, again.sources, strict=True):
        assert (after.report, after.labels, after.kernel, after.slice_spacing_mm) == (
            before.report,
            before.labels,
            before.kernel,
            before.slice_spacing_mm,
        )


def test_an_encoding_is_refused_unless_it_is_named(ct_rate: Path) -> None:
    report = ct_rate / "dataset" / "radiology_text_reports" / "train_reports.csv"
    rewrite(report, lambda text: text.replace("No effusion", "Kalp büyümüş, sağ"), "cp1254")
    with pytest.raises(MetadataError, match=r"train_reports\.csv: line 2 is not utf-8") as caught:
        find(ct_rate)
    assert "cp1254" in caught.value.hint
    assert "Kalp büyümüş, sağ" in find(ct_rate, encoding="cp1254").sources[0].report.findings


def test_words_for_nothing_are_no_report_and_are_counted(ct_rate: Path) -> None:
    report = ct_rate / "dataset" / "radiology_text_reports" / "validation_reports.csv"
    report.write_text("VolumeName,Findings_EN,Impressions_EN\nvalid_1_a_1.nii.gz,nan,N/A\n")
    listing = find(ct_rate)
    assert {source.volume: source.report.text("both") for source in listing.sources}["valid_1_a_1.nii.gz"] == ""
    assert listing.notes == ("1 rows of reports are empty: nan, None, NULL, N/A, - and the like are nothing.",)


def test_a_table_that_matches_no_volume_is_refused_with_names_of_both_sides(ct_rate: Path) -> None:
    for report in (ct_rate / "dataset" / "radiology_text_reports").iterdir():
        rewrite(report, lambda text: text.replace("train_", "t-").replace("valid_", "v-"))
    with pytest.raises(MetadataError, match=r"none of 5 rows of reports .* called train_1_a_1\.nii\.gz, one in the table t-1_a_1"):
        find(ct_rate)


def test_one_half_of_the_archive_beside_tables_of_all_of_it_is_counted(ct_rate: Path) -> None:
    """As where only the validation volumes were downloaded."""
    shutil.rmtree(ct_rate / "dataset" / "train_fixed")
    listing = find(ct_rate)
    assert ([source.volume for source in listing.sources], listing.notes, len(listing.absent)) == (["valid_1_a_1.nii.gz"], (), 4)


def test_unlike_rows_name_both_lines_and_the_table_or_tables(ct_rate: Path) -> None:
    report = ct_rate / "dataset" / "radiology_text_reports" / "train_reports.csv"
    rows = report.read_text()
    report.write_text(rows + "train_1_a_1,,,Something else.,\n")
    with pytest.raises(MetadataError, match=r"train_reports\.csv: line 10: its row .* is unlike that in line 2\. Correct or"):
        find(ct_rate)
    report.write_text(rows)
    (ct_rate / "mine.csv").write_text("VolumeName,Findings_EN\ntrain_1_a_1,Something else.\n")
    with pytest.raises(MetadataError, match=r"line 2: its row of reports for a volume is unlike that in line 2 of "):
        find(ct_rate)

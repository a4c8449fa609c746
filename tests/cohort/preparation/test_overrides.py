from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from thoracle.cohort.preparation.overrides import with_metadata, with_series
from thoracle.cohort.sources import VolumeSource
from thoracle.errors import InputError, MetadataError


def _source(volume: str, path: Path, series: str | None = None) -> VolumeSource:
    return VolumeSource(volume=volume, scan=volume, patient="p", path=path, series=series, metadata={"ZSpacing": "9"})


def test_rows_are_found_by_the_name_of_the_volume_or_its_file_and_take_the_archives_place(write_table, tmp_path: Path) -> None:
    sources = [_source("1.2.3", tmp_path / "folder"), _source("b", tmp_path / "scan.nii.gz"), _source("c", tmp_path / "other.nii.gz")]
    rows = [
        {"VolumeName": "1.2.3", "XYSpacing": "[0.7, 0.8]", "ZSpacing": "1.5", "PatientName": "DOE"},
        {"VolumeName": "scan", "XYSpacing": "0.5\\0.5", "ZSpacing": "2", "PatientName": "DOE"},
    ]
    given, note = with_metadata(sources, write_table(tmp_path / "rows.csv", rows))
    assert [source.metadata for source in given] == [
        {"XYSpacing": "[0.7, 0.8]", "ZSpacing": "1.5"},
        {"XYSpacing": "[0.5, 0.5]", "ZSpacing": "2.0"},
        {"ZSpacing": "9"},
    ]
    assert note == "2 of 3 volumes have a row in the table of --metadata."


def test_a_json_file_with_one_row_is_for_all(tmp_path: Path) -> None:
    (tmp_path / "row.json").write_text(json.dumps({"RescaleSlope": 2, "RescaleIntercept": -1024}))
    given, note = with_metadata([_source("a", tmp_path / "a"), _source("b", tmp_path / "b")], tmp_path / "row.json")
    assert [source.metadata for source in given] == [{"RescaleSlope": "2.0", "RescaleIntercept": "-1024.0"}] * 2
    assert note == "row.json: one row, for all volumes."


def test_a_row_without_sense_refuses_its_volume_alone_and_a_table_of_others_refuses_the_command(write_table, tmp_path: Path) -> None:
    sources = [_source("a", tmp_path / "a"), _source("b", tmp_path / "b")]
    table = write_table(tmp_path / "rows.csv", [{"VolumeName": "a", "RescaleSlope": "0"}, {"VolumeName": "b", "RescaleSlope": "1"}])
    given, _ = with_metadata(sources, table)
    assert [type(source.error) for source in given] == [MetadataError, type(None)]
    with pytest.raises(MetadataError, match="none of its 2 rows is of any of 1 volumes"):
        with_metadata([_source("c", tmp_path / "c")], table)
    with pytest.raises(MetadataError, match="no such file"):
        with_metadata(sources, tmp_path / "absent.csv")


def test_a_series_is_chosen_where_a_uid_or_a_folder_holds_several(tmp_path: Path) -> None:
    one, other = _source("1.2.3", tmp_path, "1.2.3"), _source("1.2.30", tmp_path, "1.2.30")
    assert with_series([one, other], ["1.2.3#2"]) == [replace(one, series="1.2.3#2"), other], "the whole UID of one goes before a beginning"
    assert with_series([one, other], ["1.2.30"]) == [one, other]
    study, scan = _source("study", tmp_path), _source("scan.nii.gz", tmp_path / "scan.nii.gz")
    assert with_series([study, scan], ["1.2"]) == [replace(study, series="1.2"), scan]
    assert with_series([_source("a.zip", tmp_path / "a.zip")], ["1.2"])[0].series == "1.2"
    with pytest.raises(InputError, match="2 series in the archive"):
        with_series([one, other], ["1.2"])
    with pytest.raises(InputError, match="no series in the archive"):
        with_series([one, other, scan], ["1.4"])


def test_several_series_are_chosen_each_once(tmp_path: Path) -> None:
    sources = [_source(f"1.2.{n}", tmp_path, f"1.2.{n}") for n in (3, 4, 5)]
    chosen = with_series(sources, ["1.2.3#2", "1.2.5#1"])
    assert [source.series for source in chosen] == ["1.2.3#2", "1.2.4", "1.2.5#1"]
    with pytest.raises(InputError, match=r"volumes of one UID twice: 1\.2\.3#1"):
        with_series(sources, ["1.2.3#2", "1.2.3#1"])
    with pytest.raises(InputError, match="folders of this layout are read whole"):
        with_series([_source("study", tmp_path)], ["1.2.3", "1.2.4"])

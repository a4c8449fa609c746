from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.cohort.layouts.bimcv_r import find
from thoracle.cohort.manifest import open_cohort
from thoracle.cohort.prepare import prepare
from thoracle.errors import LayoutMismatch, MetadataError

_NAMES = tuple(f"sub-S0{n // 2}_ses-E1{n}_run-1_bp-chest_ct.nii.gz" for n in range(4))


@pytest.fixture
def bimcv(tmp_path: Path, write_chest, write_table) -> Path:
    root = tmp_path / "BIMCV-R"
    for seed, name in enumerate(_NAMES[:3]):
        write_chest(root / f"CT{seed + 1}" / "ct" / name, seed)
    rows = [{"Report_en": f"Nodule ({n}).", "path": f"/raid/authors/{name[:7]}/mod-rx/{name}"} for n, name in enumerate(_NAMES)]
    write_table(root / "meta" / "curated_ct_report_path_En.csv", rows)
    return root


def test_names_tell_patient_and_scan_and_the_table_the_report(bimcv: Path, small, tmp_path: Path) -> None:
    done = prepare(bimcv, layout="bimcv-r", out=tmp_path / "out", preprocess=small)
    assert (done.volumes, done.refused, done.absent) == (3, 0, 1)
    entries = open_cohort(tmp_path / "out").entries
    assert [(entry.volume, entry.scan, entry.patient) for entry in entries] == [
        (_NAMES[0], "sub-S00_ses-E10", "sub-S00"),
        (_NAMES[1], "sub-S00_ses-E11", "sub-S00"),
        (_NAMES[2], "sub-S01_ses-E12", "sub-S01"),
    ]
    assert [entry.report.text("both") for entry in entries] == ["Nodule 0.", "Nodule 1.", "Nodule 2."]
    assert entries[0].split == entries[1].split
    assert _NAMES[3] in (tmp_path / "out" / "quality.csv").read_text()


def test_a_file_that_tells_no_patient_is_refused_and_one_without_a_report_is_said(bimcv: Path, write_chest, small, tmp_path: Path) -> None:
    write_chest(bimcv / "CT1" / "ct" / "chest.nii.gz", 8)
    done = prepare(bimcv, layout="bimcv-r", out=tmp_path / "out", preprocess=small)
    assert (done.volumes, done.refused) == (3, 1)
    assert done.notes == (
        "1 of 4 volumes have no row in the table of reports.",
        "BIMCV-R as published has 8,069 volumes; here are 3 volumes of 3 scans and 2 patients.",
    )
    assert "chest.nii.gz,refused,MetadataError" in (tmp_path / "out" / "quality.csv").read_text()


def test_a_row_may_name_the_folder_of_a_scan(bimcv: Path, write_table) -> None:
    rows = [{"Report_en": f"Scan {n}.", "path": f"/raid/authors/posi/sub-S00/ses-E1{n}/mod-rx"} for n in (1, 5)]
    write_table(bimcv / "meta" / "curated_ct_report_path_En.csv", rows)
    listing = find(bimcv)
    assert [source.report.findings for source in listing.sources] == ["", "Scan 1.", ""]
    assert listing.absent == ("sub-S00_ses-E15",)


def test_tables_of_parts_of_the_archive_may_lie_beside_that_of_the_whole(bimcv: Path) -> None:
    whole = (bimcv / "meta" / "curated_ct_report_path_En.csv").read_text()
    (bimcv / "meta" / "curated_pos_ct_report_path_En.csv").write_text(whole.replace("Nodule", "Part"))
    assert [source.report.findings for source in find(bimcv).sources] == ["Nodule (0).", "Nodule (1).", "Nodule (2)."]


def test_a_volume_under_two_folders_is_taken_once(bimcv: Path, write_chest) -> None:
    write_chest(bimcv / "CT9" / "ct" / _NAMES[0], 9)
    listing = find(bimcv)
    assert [source.volume for source in listing.sources] == list(_NAMES[:3])
    assert listing.notes == ("1 volumes lie in several folders under one name; the last is taken.",)


def test_it_needs_volumes_and_one_table(bimcv: Path, tmp_path: Path) -> None:
    (bimcv / "copy.csv").write_bytes((bimcv / "meta" / "curated_ct_report_path_En.csv").read_bytes())
    (bimcv / "copy.csv").rename(bimcv / "curated_ct_report_path_En.csv")
    with pytest.raises(MetadataError, match="found 2"):
        find(bimcv)
    with pytest.raises(LayoutMismatch):
        find(tmp_path)


def test_rows_in_another_spelling_are_matched_and_unlike_ones_named(bimcv: Path, write_table) -> None:
    table = bimcv / "meta" / "curated_ct_report_path_En.csv"
    rows = [{"Report_en": "A.", "path": f"E:\\bimcv\\{_NAMES[0]} "}, {"Report_en": "nan", "path": _NAMES[1].removesuffix(".nii.gz")}]
    write_table(table, rows + rows[:1])
    listing = find(bimcv)
    assert [source.report.findings for source in listing.sources] == ["A.", "", ""]
    assert "1 rows of reports are empty" in listing.notes[0]
    write_table(table, [*rows, {"Report_en": "B.", "path": _NAMES[0]}])
    with pytest.raises(MetadataError, match="line 4: its row of reports for a volume is unlike that in line 2"):
        find(bimcv)
    write_table(table, [{"Report_en": "B.", "path": "sub-S9_ses-E9_run-1.nii.gz"}])
    with pytest.raises(MetadataError, match="none of 1 rows of reports"):
        find(bimcv)

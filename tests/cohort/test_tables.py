from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from thoracle.cohort.prepare import prepare
from thoracle.cohort.tables import find_tables, has_report, labels_of, parse_positive_number, report_of
from thoracle.ct.preprocess import PreprocessConfig
from thoracle.errors import MetadataError


def test_tables_lie_up_to_three_levels_below_and_beside_none_that_is_named(tmp_path: Path) -> None:
    for folder in (".", "a", "a/b", "a/b/c", "a/b/c/d", "masks", ".hidden"):
        (tmp_path / folder).mkdir(exist_ok=True, parents=True)
        (tmp_path / folder / "t.csv").write_text("VolumeName,x\nv,1\n")
    tables = [table.path.relative_to(tmp_path).as_posix() for table in find_tables(tmp_path, beside=("masks",)).tables]
    assert tables == ["t.csv", "a/t.csv", "a/b/t.csv", "a/b/c/t.csv"]


def test_tables_of_cohorts_below_are_not_the_archives(tmp_path: Path) -> None:
    for folder in (".", "out", "out/below", "a/out", "a"):
        (tmp_path / folder).mkdir(exist_ok=True, parents=True)
        (tmp_path / folder / "t.csv").write_text("VolumeName,x\nv,1\n")
    for folder in (".", "out", "a/out"):
        (tmp_path / folder / "cohort.json").write_text("{}")
    assert [table.path.relative_to(tmp_path).as_posix() for table in find_tables(tmp_path).tables] == ["t.csv", "a/t.csv"]


def test_a_row_of_another_length_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\ufeffa,b\n1,2\n\n3\n", encoding="utf-8")
    (table,) = find_tables(tmp_path).tables
    assert table.columns == ("a", "b")
    with pytest.raises(MetadataError, match="line 4 has 1 fields"):
        list(table.rows())


def test_reports_and_labels_by_the_columns_that_are_there(tmp_path: Path) -> None:
    row = {"Findings_EN": "", "Report_en": "Clear.", "Impressions_EN": "Normal.", "Emphysema": "1", "Atelectasis": "0.0", "Lung nodule": ""}
    assert (report_of(row).findings, report_of(row).impression) == ("Clear.", "Normal.")
    labels = labels_of(row, source=Path("t.csv"))
    assert (labels[7], labels[8], labels[9], labels[0]) == (1, 0, None, None)
    with pytest.raises(MetadataError, match="Emphysema must be 0 or 1"):
        labels_of({"Emphysema": "2"}, source=Path("t.csv"))
    (tmp_path / "t.csv").write_text("VolumeName,report\nv,x\n")
    assert has_report(find_tables(tmp_path).tables[0])


@pytest.mark.parametrize(("text", "number"), [("1.5", 1.5), ("0", None), ("-1", None), ("inf", None), ("nan", None), ("", None)])
def test_positive_numbers(text: str, number: float | None) -> None:
    assert parse_positive_number(text) == number


@pytest.mark.parametrize(
    ("cell", "label"),
    [("1", 1), ("1.0", 1), ("True", 1), ("TRUE", 1), ("0", 0), ("false", 0), ("-1", None), ("-1.0", None), ("", None), (" 1 ", 1)],
)
def test_labels_in_every_spelling(cell: str, label: int | None) -> None:
    for column in ("Lung nodule", "lung nodule ", "LUNG  NODULE", "Lung_Nodule"):
        assert labels_of({column: cell}, source=Path("t.csv"))[9] == label


@pytest.mark.parametrize("cell", ["2", "yes", "-2", "0.5", "nodule"])
def test_what_is_no_label_is_refused(cell: str) -> None:
    with pytest.raises(MetadataError, match="Lung nodule must be 0 or 1"):
        labels_of({"lung nodule": cell}, source=Path("t.csv"))


def test_tables_of_every_kind_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("VolumeName\treport\nv\tx\n")
    (tmp_path / "b.jsonl").write_text('{"VolumeName": "v", "report": "x"}\n')
    (tmp_path / "~$c.xlsx").write_bytes(b"owner")
    book = openpyxl.Workbook()
    book.active.append(["VolumeName", "report"])
    book.active.append(["v", "x"])
    book.save(tmp_path / "c.xlsx")
    assert [(table.path.name, has_report(table)) for table in find_tables(tmp_path).tables] == [
        ("a.tsv", True),
        ("b.jsonl", True),
        ("c.xlsx", True),
    ]


def _refuse(monkeypatch: pytest.MonkeyPatch, *folders: str) -> None:
    """Root may list any folder: the system's answer to others is given by hand."""
    scandir = os.scandir

    def refusing(path: str | Path) -> Any:
        if Path(path).name in folders:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)


def test_folders_that_cannot_be_listed_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a", "b/closed", "masks", "shut"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "t.csv").write_text("VolumeName,x\nv,1\n")
    _refuse(monkeypatch, "closed", "masks", "shut")
    listing = find_tables(tmp_path, beside=("masks",))
    assert [table.path.relative_to(tmp_path).as_posix() for table in listing.tables] == ["a/t.csv"]
    assert [source.volume for source in listing.unlisted] == ["b/closed", "shut"]
    assert str(listing.unlisted[0].error).startswith("the folder cannot be listed (Permission denied): tables may lie in it")


@pytest.mark.parametrize("layout", ["ct-rate", "folder"])
def test_a_folder_of_tables_that_cannot_be_listed_is_a_row_of_the_quality_report(
    layout: str, ct_rate: Path, small: PreprocessConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if layout == "folder":
        scan = "dataset/train_fixed/train_1/train_1_a/train_1_a_1.nii.gz"
        (ct_rate / "scans.csv").write_text(f"path,patient\n{scan},p\n")
    _refuse(monkeypatch, "radiology_text_reports")
    summary = prepare(ct_rate, layout=layout, out=tmp_path / "out", preprocess=small, keep_ids=True)
    assert (summary.volumes, summary.refused) == (5 if layout == "ct-rate" else 1, 1)
    rows = (tmp_path / "out" / "quality.csv").read_text()
    assert "\ndataset/radiology_text_reports,refused,ScanUnreadable,the folder cannot be listed (Permission denied): tables may" in rows

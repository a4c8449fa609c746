from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest

from thoracle.cohort.tables import find_tables, has_report, labels_of, parse_positive_number, report_of
from thoracle.errors import MetadataError


def test_tables_lie_up_to_three_levels_below_and_beside_none_that_is_named(tmp_path: Path) -> None:
    for folder in (".", "a", "a/b", "a/b/c", "a/b/c/d", "masks", ".hidden"):
        (tmp_path / folder).mkdir(exist_ok=True, parents=True)
        (tmp_path / folder / "t.csv").write_text("VolumeName,x\nv,1\n")
    tables = [table.path.relative_to(tmp_path).as_posix() for table in find_tables(tmp_path, beside=("masks",))]
    assert tables == ["t.csv", "a/t.csv", "a/b/t.csv", "a/b/c/t.csv"]


def test_tables_of_cohorts_below_are_not_the_archives(tmp_path: Path) -> None:
    for folder in (".", "out", "out/below", "a/out", "a"):
        (tmp_path / folder).mkdir(exist_ok=True, parents=True)
        (tmp_path / folder / "t.csv").write_text("VolumeName,x\nv,1\n")
    for folder in (".", "out", "a/out"):
        (tmp_path / folder / "cohort.json").write_text("{}")
    assert [table.path.relative_to(tmp_path).as_posix() for table in find_tables(tmp_path)] == ["t.csv", "a/t.csv"]


def test_a_row_of_another_length_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\ufeffa,b\n1,2\n\n3\n", encoding="utf-8")
    (table,) = find_tables(tmp_path)
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
    assert has_report(find_tables(tmp_path)[0])


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
    assert [(table.path.name, has_report(table)) for table in find_tables(tmp_path)] == [
        ("a.tsv", True),
        ("b.jsonl", True),
        ("c.xlsx", True),
    ]

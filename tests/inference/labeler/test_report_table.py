from __future__ import annotations

import csv
import json
from pathlib import Path

import openpyxl
import pytest

from thoracle.errors import InputError, MetadataError
from thoracle.inference.labeler.report_table import ReportRow, ReportTable
from thoracle.inference.labeler.rules import RuleLabeller
from thoracle.inference.labeler.runner import label_table

ROWS = (("a-1", 'Lungs are "clear", heart is normal.\nNo effusion.'), ("17", "Nodule in the lingula, 4 mm (new)."))


def write(path: Path, rows: tuple[tuple[str, str], ...] = ROWS, *, encoding: str = "utf-8") -> Path:
    columns = ("AccessionNo", "report_text")
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding=encoding) as file:
            csv.writer(file).writerows([columns, *rows])
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows), encoding=encoding)
    else:
        book = openpyxl.Workbook()
        for row in [columns, *((int(name) if name.isdigit() else name, text) for name, text in rows)]:
            book.active.append(row)
        book.save(path)
    return path


def read(path: Path, **options: object) -> list[ReportRow]:
    return list(ReportTable(path=path, **options).rows())


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".xlsx"])
def test_every_kind_of_table_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    rows = read(write(tmp_path / f"reports{suffix}"))
    assert [(row.id, row.text) for row in rows] == list(ROWS)
    assert rows[-1].position == pytest.approx(1.0, abs=0.35)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".xlsx"])
def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(MetadataError, match="has no column findings; it has AccessionNo, report_text") as caught:
        read(write(tmp_path / f"reports{suffix}"), text_columns=("findings",))
    assert "--text-column" in caught.value.hint


def test_several_text_columns_are_joined_and_others_handed_on(tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    path.write_text("VolumeName,Findings_EN,Impressions_EN,Emphysema\na,Lungs clear.,Normal.,1\nb,,Hernia.,\n")
    rows = read(path, id_column="VolumeName", text_columns=("Findings_EN", "Impressions_EN"), also=("Emphysema",))
    assert [(row.id, row.text, row.also) for row in rows] == [("a", "Lungs clear. Normal.", ("1",)), ("b", "Hernia.", ("",))]


def test_excel_s_own_utf8_and_other_encodings_are_read(tmp_path: Path) -> None:
    marked = write(tmp_path / "marked.csv", encoding="utf-8-sig")
    assert read(marked)[0].id == "a-1"
    wide = write(tmp_path / "wide.csv", encoding="utf-16")
    with pytest.raises(MetadataError, match="is UTF-16, not utf-8"):
        read(wide)
    assert [row.text for row in read(wide, encoding="utf-16")] == [text for _, text in ROWS]
    western = write(tmp_path / "western.csv", (("1", "Müller's lung"),), encoding="cp1252")
    assert read(western, encoding="cp1252")[0].text == "Müller's lung"
    with pytest.raises(MetadataError, match="line 2 is not utf-8") as caught:
        read(western)
    assert "--encoding cp1252" in caught.value.hint


def test_a_row_with_a_fault_is_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    ragged = tmp_path / "ragged.csv"
    ragged.write_text("AccessionNo,report_text\n1,Lungs are clear, heart too\n2,Hernia.\n")
    assert [(row.id, row.fault) for row in read(ragged)] == [("1", "line 2 has 3 fields, the first line has 2"), ("2", "")]
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"AccessionNo": 1, "report_text": "Hernia."}\n[1]\n{"AccessionNo": 2\n\n{"AccessionNo": 3}\n')
    faults = [(row.id, row.text, row.fault) for row in read(lines)]
    assert faults == [("1", "Hernia.", ""), ("", "", "line 2 is not a JSON object"), ("", "", "line 3 is not a JSON object"), ("3", "", "")]


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", b""), ("a.jsonl", b""), ("a.xlsx", b""), ("b.xlsx", b"PK\x03\x04 no"), ("c.xlsx", b"a,b")]
)
def test_what_is_no_table_says_so(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MetadataError):
        read(tmp_path / name)


def test_a_cell_larger_than_any_report_is_no_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "reports.csv", (("1", "a" * (1 << 21)),))
    with pytest.raises(MetadataError, match="is not CSV"):
        read(path)


def test_a_table_that_makes_no_sense_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "reports.csv")
    for wrong in ({"path": tmp_path / "none.csv"}, {"path": tmp_path}, {"encoding": "klingon"}, {"text_columns": ()}):
        with pytest.raises(InputError):
            ReportTable(**{"path": path, **wrong})
    (tmp_path / "reports.docx").write_bytes(b"x")
    with pytest.raises(InputError, match="is not a table's name"):
        ReportTable(path=tmp_path / "reports.docx")


def test_another_encoding_is_said_before_anything_is_labelled(tmp_path: Path) -> None:
    rows = (*ROWS, ("3", "Nodule 5–3 mm."))
    path, out = write(tmp_path / "western.csv", rows, encoding="cp1252"), tmp_path / "labels.csv"
    with pytest.raises(MetadataError, match="line 5 is not utf-8"):
        list(label_table(ReportTable(path=path), RuleLabeller(), out=out))
    assert not out.exists()
    list(label_table(ReportTable(path=path, encoding="cp1252"), RuleLabeller(), out=out))
    assert len(out.read_text().splitlines()) == 4


def test_columns_and_words_for_nothing_in_other_spellings(tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    path.write_text("accessionno;Report_Text ;LUNG NODULE\n1;Nodule.;1,0\n2;nan;\n")
    rows = read(path, also=("Lung nodule",))
    assert [(row.id, row.text, row.also) for row in rows] == [("1", "Nodule.", ("1.0",)), ("2", "", ("",))]

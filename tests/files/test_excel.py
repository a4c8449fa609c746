from __future__ import annotations

import datetime
import zipfile
from pathlib import Path

import openpyxl
import pytest

from thoracle.errors import MetadataError
from thoracle.files import excel
from thoracle.files.table import TextTable

TURKISH = "Kalp büyümüş, sağ üst lobda nodül"


def test_excel_s_values_are_written_as_people_write_them(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Notes"
    sheet = book.create_sheet("Reports")
    sheet.append([])
    sheet.append(["AccessionNo", "date", "when", "spacing", "flag", "text", None])
    sheet.append([17.0, datetime.datetime(2019, 3, 4), datetime.datetime(2019, 3, 4, 10, 20), 0.75, True, TURKISH, None])
    sheet.append([])
    sheet.append([123, None, None, 1, False, "#N/A", None])
    sheet["A5"].number_format = "00000"
    book.save(tmp_path / "t.xlsx")
    table = TextTable(path=tmp_path / "t.xlsx")
    assert table.columns == ("AccessionNo", "date", "when", "spacing", "flag", "text")
    assert [tuple(row.cells.values()) for row in table.rows()] == [
        ("17", "2019-03-04", "2019-03-04 10:20:00", "0.75", "True", TURKISH),
        ("00123", "", "", "1", "False", ""),
    ]
    assert [row.line for row in table.rows()] == [3, 5]


@pytest.mark.parametrize("content", [b"", b"id;text\n1;x\n", b"PK\x03\x04" + bytes(40)])
def test_what_is_no_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.xlsx").write_bytes(content)
    with pytest.raises(MetadataError, match="is not an Excel workbook"):
        list(excel.excel_lines(tmp_path / "t.xlsx"))


def test_a_workbook_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excel, "_LARGEST_SHEET", 1000)
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", bytes(1001))
    with pytest.raises(MetadataError, match="unpacks to more than 1,000 bytes"):
        list(excel.excel_lines(tmp_path / "t.xlsx"))

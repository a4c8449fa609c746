"""CT-RATE's metadata: real rows, the strings pandas wrote, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thoracle.ct.metadata import MetadataRow, MetadataTable, lookup_metadata, parse_row
from thoracle.errors import MetadataError

ROW = {"RescaleSlope": "1", "RescaleIntercept": "-1024", "XYSpacing": "[0.7, 0.7]", "ZSpacing": "1.5"}
HEADER = ["VolumeName", "ConvolutionKernel", *ROW, "ImageOrientationPatient", "PatientPosition"]


def _table(path: Path, rows: list[list[str]], header: list[str] = HEADER) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def _row(name: str, **changed: str) -> list[str]:
    return [name, "['Br40f', '3']", *{**ROW, **changed}.values(), "[1, 0, 0, 0, 1, 0]", "HFS"]


def test_every_row_of_the_real_table(data_dir: Path) -> None:
    path = data_dir / "reports" / "ctrate_metadata_sample.csv"
    table = MetadataTable.open(path)
    assert len(table) == 300
    with path.open(newline="") as file:
        for written in csv.DictReader(file):
            row = table.row(written["VolumeName"])
            assert row.slope == 1.0
            assert row.intercept == float(written["RescaleIntercept"])
            x, y = json.loads(written["XYSpacing"])
            assert row.spacing == (x, y, float(written["ZSpacing"]))  # to the last bit of the decimal
            assert row.orientation == (1, 0, 0, 0, 1, 0)
            assert row.position == written["PatientPosition"]
    assert sum(table.row(name).position == "FFS" for name in table._rows) == 1


def test_a_row_is_found_by_file_name_with_or_without_extension(tmp_path: Path) -> None:
    table = _table(tmp_path / "meta.csv", [_row("valid_1_a_1.nii.gz"), _row("valid_1_a_2"), _row("valid_10_a_1.nii.gz", ZSpacing="3.0")])
    for name in ("valid_1_a_1.nii.gz", "valid_1_a_1.nii", "valid_1_a_1", "valid_1_a_2.nii.gz", "valid_1_a_2.nrrd", "valid_1_a_2.mhd"):
        assert lookup_metadata(table, tmp_path / name) == parse_row(
            {**ROW, "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PatientPosition": "HFS"}, source=""
        )
    found = lookup_metadata(MetadataTable.open(table), Path("x/valid_10_a_1.nii.gz"))
    assert found is not None
    assert found.spacing == (0.7, 0.7, 3.0)
    assert lookup_metadata(None, Path("x")) is None


def test_absent_and_double_rows_are_refused_with_the_nearest_names(tmp_path: Path) -> None:
    table = _table(tmp_path / "meta.csv", [_row("valid_1_a_1.nii.gz"), _row("valid_2_a_1.nii.gz"), _row("valid_2_a_1", ZSpacing="2")])
    with pytest.raises(MetadataError, match=r"none of 2 rows .* nearest are valid_1_a_1"):
        lookup_metadata(table, Path("valid_1_b_1.nii.gz"))
    with pytest.raises(MetadataError, match=r"several rows .* differ, in lines 3 and 4"):
        lookup_metadata(table, Path("valid_2_a_1.nii.gz"))


def test_json_is_a_row_or_a_list_of_rows(tmp_path: Path, golden_dir: Path) -> None:
    row = lookup_metadata(golden_dir / "preprocess" / "ctrate_v1_raw.json", Path("ctrate_v1_raw.nii.gz"))
    assert row == MetadataRow(slope=1.0, intercept=-1024.0, spacing=(1.5, 1.5, 1.5))
    rows = tmp_path / "rows.json"
    rows.write_bytes(b"\xef\xbb\xbf" + json.dumps([{"VolumeName": "a.nii.gz", **ROW}, {"VolumeName": "b.nii.gz", "ZSpacing": ""}]).encode())
    assert lookup_metadata(rows, Path("a.nii.gz")) == parse_row(ROW, source="")
    assert lookup_metadata(str(rows), Path("b.nii.gz")) == MetadataRow()


def test_tables_with_a_byte_order_mark_and_other_encodings_are_read(tmp_path: Path) -> None:
    table = _table(tmp_path / "meta.csv", [_row("a.nii.gz")])
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"Br40f", b"G\xf6\xfe"))
    assert lookup_metadata(table, Path("a.nii.gz")) is not None


@pytest.mark.parametrize(
    "written",
    ["[0.34, 0.5]", [0.34, 0.5], (0.34, 0.5), ["0.34", "0.5"], "['0.34', '0.5']", "0.34\\0.5", "(0.34 0.5)", np.array([0.34, 0.5])],
)
def test_lists_in_any_spelling(written: object) -> None:
    assert parse_row({"XYSpacing": written, "ZSpacing": "1"}, source="").spacing == (0.34, 0.5, 1.0)


@pytest.mark.parametrize("silence", ["", "  ", None])
def test_silence_is_no_statement(silence: object) -> None:
    assert parse_row(dict.fromkeys([*ROW, "ImageOrientationPatient", "PatientPosition"], silence), source="") == MetadataRow()
    assert parse_row({}, source="") == MetadataRow()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("RescaleSlope", "0"),
        ("RescaleSlope", 0.0),
        ("RescaleSlope", "nan"),
        ("RescaleSlope", True),
        ("RescaleSlope", "1, 2"),
        ("RescaleIntercept", "inf"),
        ("RescaleIntercept", "minus 1024"),
        ("XYSpacing", "[0.7]"),
        ("XYSpacing", "[0.7, 0]"),
        ("XYSpacing", "[0.7, -0.7]"),
        ("XYSpacing", "[0.7, nan]"),
        ("XYSpacing", [0.7, None]),
        ("XYSpacing", "[]"),
        ("ZSpacing", "0"),
        ("ZSpacing", -1.5),
        ("ZSpacing", float("nan")),
        ("ImageOrientationPatient", "[1, 0, 0, 0, 1]"),
        ("ImageOrientationPatient", "[1, 0, 0, 1, 0, 0]"),
        ("ImageOrientationPatient", "[2, 0, 0, 0, 1, 0]"),
        ("PatientPosition", float("nan")),
    ],
)
def test_nonsense_is_refused_by_the_fields_name(field: str, value: object) -> None:
    with pytest.raises(MetadataError, match=field):
        parse_row({**ROW, field: value}, source="row")


@pytest.mark.parametrize("missing", ["XYSpacing", "ZSpacing"])
def test_half_a_spacing_is_refused(missing: str) -> None:
    with pytest.raises(MetadataError, match=f"{missing} is missing"):
        parse_row({**ROW, missing: ""}, source="row")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no column VolumeName"),
        (b"name,slope\na,1\n", "no column VolumeName"),
        (b"VolumeName,RescaleSlope\na.nii.gz,1\nb.nii.gz\n", "line 3 has 1 fields"),
        (b'VolumeName,RescaleSlope\n"' + b"x" * 200_000, "not CSV"),
        (b'{"RescaleSlope": 1', "not JSON"),
        (b"[1, 2]", "list of rows"),
        (b"[" * 100_000, "not JSON"),
        (b"\x1f\x8b\x00\xff" * 100, "no column VolumeName"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "meta"
    path.write_bytes(content)
    with pytest.raises(MetadataError, match=said):
        lookup_metadata(path, Path("a.nii.gz"))


def test_a_table_that_is_absent_or_huge_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match="no such file"):
        lookup_metadata(tmp_path / "absent.csv", Path("a"))
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(MetadataError, match="larger"):
        lookup_metadata(tmp_path / "huge.csv", Path("a"))


@given(x=st.floats(0.1, 2), y=st.floats(0.1, 2), z=st.floats(0.1, 10), slope=st.floats(0.01, 40), intercept=st.floats(-9000, 0))
def test_decimals_survive_to_the_last_bit(x: float, y: float, z: float, slope: float, intercept: float) -> None:
    written = {"XYSpacing": str([x, y]), "ZSpacing": str(z), "RescaleSlope": str(slope), "RescaleIntercept": str(intercept)}
    assert parse_row(written, source="") == MetadataRow(slope=slope, intercept=intercept, spacing=(x, y, z))


def test_rows_are_matched_by_content_of_their_names(tmp_path: Path) -> None:
    names = ["train\\a.nii.gz ", "/data/b.nii", "Go\u0308g\u0306u\u0308s", "d.mha"]
    table = MetadataTable.open(_table(tmp_path / "meta.csv", [_row(name) for name in names]))
    for name in ("a.nii.gz", "b.nrrd", "Göğüs.nii.gz", "d.mhd"):
        assert table.row(name).intercept == -1024.0
    with pytest.raises(MetadataError):
        table.row("A.nii.gz")


def test_like_rows_are_one_whatever_the_spelling_of_their_numbers(tmp_path: Path) -> None:
    rows = [_row("a.nii.gz"), _row("a", RescaleSlope="1.0", XYSpacing="0.70 0.7")]
    assert MetadataTable.open(_table(tmp_path / "meta.csv", rows)).row("a").slope == 1.0


def test_semicolons_commas_and_words_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "meta.csv"
    path.write_text("VolumeName;RescaleSlope;RescaleIntercept;XYSpacing;ZSpacing;PatientPosition\na;1,0;-1024;[0.7, 0.7];1,5;nan\n")
    assert MetadataTable.open(path).row("a") == MetadataRow(slope=1.0, intercept=-1024.0, spacing=(0.7, 0.7, 1.5))


def test_names_that_are_not_there_are_looked_up_in_linear_time(tmp_path: Path) -> None:
    """A measure of likeness would take hours here: half a second a name."""
    rows = [_row(f"train_{n}_a_1.nii.gz") for n in range(20_000)]
    table = MetadataTable.open(_table(tmp_path / "meta.csv", rows))
    for n in range(2_000):
        with pytest.raises(MetadataError, match="nearest are"):
            table.row(f"valid_{n}_a_1.nii.gz")


@pytest.mark.parametrize(
    "listed", ["valid_1_a_1.nii.gz ", "valid_1_a_1 .nii.gz", "\ufeffvalid_1_a_1.nii.gz\u200b", "d\\valid_1_a_1.NII.GZ\t", "./valid_1_a_1"]
)
def test_blanks_and_invisible_marks_around_a_name_do_not_matter(listed: str) -> None:
    table = MetadataTable([{"VolumeName": listed, "RescaleSlope": 2}], source="t")
    assert table.row("valid_1_a_1.nii.gz").slope == 2

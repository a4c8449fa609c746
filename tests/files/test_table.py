"""What hospitals, spreadsheets and scripts hand over as a table, and what each of its cells means."""

from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.errors import InputError, MetadataError
from thoracle.files.table import TextTable

TURKISH = "Kalp büyümüş, sağ üst lobda nodül"


def write(path: Path, content: str | bytes, encoding: str = "utf-8") -> TextTable:
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return TextTable(path=path)


def cells(table: TextTable) -> list[dict[str, str]]:
    return [dict(row.cells) for row in table.rows()]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_utf8_is_read_with_and_without_its_mark(tmp_path: Path, encoding: str) -> None:
    assert cells(write(tmp_path / "t.csv", f"id;text\n1;{TURKISH}\n", encoding)) == [{"id": "1", "text": TURKISH}]


@pytest.mark.parametrize(
    ("text", "encoding", "guess"),
    [
        (TURKISH, "cp1254", "cp1254"),
        ("5–3 mm größer, 3 cm², 20°", "cp1252", "cp1252"),
        ("épanchement pleural à gauche", "cp1252", "cp1252"),
        ("Herz größer, für später", "mac_roman", "mac_roman"),
        ("zagęszczenia w płucu, wysięk opłucnowy", "cp1250", "cp1250"),
        ("Узел в верхней доле", "cp1251", "cp1251"),
    ],
)
def test_another_encoding_is_refused_with_its_line_and_name(tmp_path: Path, text: str, encoding: str, guess: str) -> None:
    table = write(tmp_path / "t.csv", f'id;text\n1;"plain\ntext"\n2;{text}\n', encoding)
    with pytest.raises(MetadataError, match="line 4 is not utf-8") as caught:
        cells(table)
    assert f"give --encoding {guess}" in caught.value.hint
    assert cells(TextTable(path=table.path, encoding=guess))[1]["text"] == text


def test_one_bad_byte_in_utf8_is_not_taken_for_another_encoding_of_the_rest(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", f"id;text\n1;{TURKISH}\n2;".encode() + b"5 mm \x81\x8d\n")
    with pytest.raises(MetadataError, match="line 3 is not utf-8") as caught:
        cells(table)
    assert "cp125" not in caught.value.hint


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_encodings_are_told_by_mark_or_zeros(tmp_path: Path, encoding: str) -> None:
    table = write(tmp_path / "t.csv", f"VolumeName\ttext\na\t{TURKISH}\n", encoding)
    assert table.columns == ("VolumeName", "text"), "so that it is seen to be a table of these"
    with pytest.raises(MetadataError, match=f"is {encoding.upper()[:6]}, not utf-8, from line 1 on") as caught:
        cells(table)
    assert f"--encoding {encoding}" in caught.value.hint
    assert cells(TextTable(path=table.path, encoding=encoding)) == [{"VolumeName": "a", "text": TURKISH}]


def test_names_of_columns_in_another_encoding_are_line_1(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match="line 1 is not utf-8"):
        cells(write(tmp_path / "t.csv", "id,Größe\n1,2\n", "cp1252"))


def test_only_columns_that_are_needed_must_be_in_the_encoding(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "VolumeName,Maker,Größe\na,Müller,1\n", "cp1252")
    assert [row.cells["VolumeName"] for row in table.rows(columns=("VolumeName",))] == ["a"]
    with pytest.raises(MetadataError, match="line 2"):
        list(table.rows(columns=("VolumeName", "Maker")))


def test_an_encoding_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no encoding 'klingon'"):
        TextTable(path=tmp_path / "t.csv", encoding="klingon")


@pytest.mark.parametrize(
    "content",
    [
        'id,"a; b",text\n1,x,"one, two"\n',
        'id;"a; b";text\n1;x;one, two\n',
        "id\ta; b\ttext\n1\tx\tone, two\n",
        'sep=;\nid;"a; b";text\n1;x;one, two\n',
        '"sep=\t"\nid\ta; b\ttext\n1\tx\tone, two\n',
        '\n\nid,"a; b",text\n\n1,x,"one, two"\n,,\n \n',
        'id,"a; b",text,,\n1,x,"one, two",,\n',
        'id,"a; b",text\r\n1,x,"one, two"\r\n',
        'id,"a; b",text\r1,x,"one, two"\r',
        'id,"a; b",text\n1,x,"one, two"',
        'id,"a; b",text,text\n1,x,"one, two","one, two"\n',
    ],
)
def test_delimiters_blank_lines_and_line_ends_of_every_program(tmp_path: Path, content: str) -> None:
    assert cells(write(tmp_path / "t.csv", content)) == [{"id": "1", "a; b": "x", "text": "one, two"}]


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", 'id,text\n1,"two\nlines"\n\n2,x\n')
    assert [(row.line, row.cells["text"]) for row in table.rows()] == [(2, "two\nlines"), (5, "x")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,text\n1,a\n2\n", "line 3 has 1 fields, the first line has 2"),
        ("id,text\n1,a,b\n", "line 2 has 3 fields, the first line has 2"),
        ('id,text\n1,a\n2,"never closed\n3,c\n', "line 3 is not CSV"),
        ("id,text,text\n1,a,b\n", "line 2 holds two values under two columns text"),
        ("", "is empty"),
    ],
)
def test_a_row_of_another_form_is_named_by_its_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(MetadataError, match=message):
        cells(write(tmp_path / "t.csv", content))


def test_a_stray_quote_is_text(tmp_path: Path) -> None:
    assert cells(write(tmp_path / "t.csv", 'id,text\n1,5" wide\n2,a 3" tube\n')) == [
        {"id": "1", "text": '5" wide'},
        {"id": "2", "text": 'a 3" tube'},
    ]


@pytest.mark.parametrize(
    "word",
    [
        "nan",
        "NaN",
        "None",
        "NULL",
        "null",
        "N/A",
        "n/a",
        "NA",
        "#N/A",
        "<NA>",
        "NaT",
        "n.a.",
        "-",
        ".",
        " nan ",
        "--",
        "\u2013",
        " \u2014 ",
        "...",
        "- -",
    ],
)
def test_words_for_nothing_are_nothing(tmp_path: Path, word: str) -> None:
    assert cells(write(tmp_path / "t.csv", f"id,text\n1,{word}\n")) == [{"id": "1", "text": ""}]


@pytest.mark.parametrize("text", ["None.", "nano", "No", "0", "NA beside", "- clear", "-1", ".5", "1-2"])
def test_other_words_are_text(tmp_path: Path, text: str) -> None:
    assert cells(write(tmp_path / "t.csv", f"id,text\n1,{text}\n"))[0]["text"] == text


def test_decimal_commas_are_points_where_semicolons_stand_between_cells(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", "id;spacing;list;text\n1;0,75;[0,7, 0,7];5,3 mm\n2;-1024,0;x;y\n")
    assert [row["spacing"] for row in cells(table)] == ["0.75", "-1024.0"]
    assert (cells(table)[0]["list"], cells(table)[0]["text"]) == ("[0,7, 0,7]", "5,3 mm")
    english = write(tmp_path / "e.tsv", "id\tintercept\n1\t-1,024\n")
    assert cells(english)[0]["intercept"] == "-1,024", "which is a thousand and more, not one"


def test_json_lines_are_rows(tmp_path: Path) -> None:
    table = write(tmp_path / "t.jsonl", '{"id": 1, "text": "a", "x": null}\n\n{"id": 2.0, "text": true}\n[]\n')
    rows = list(table.rows(with_faults=True))
    assert [dict(row.cells) for row in rows] == [{"id": "1", "text": "a", "x": ""}, {"id": "2", "text": "True", "x": ""}, {}]
    assert rows[2].fault == "line 4 is not a JSON object"
    with pytest.raises(MetadataError, match="line 4"):
        list(table.rows())
    with pytest.raises(MetadataError, match="line 1 is not utf-8"):
        cells(write(tmp_path / "u.jsonl", f'{{"text": "{TURKISH}"}}\n', "cp1254"))


def test_a_table_larger_than_its_budget_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", "a,b\n1,2\n")
    with pytest.raises(MetadataError, match="is larger than 7 bytes"):
        list(TextTable(path=tmp_path / "t.csv", largest=7).rows())

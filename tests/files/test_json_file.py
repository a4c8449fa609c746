from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thoracle.errors import InputError, ModelFolderInvalid
from thoracle.files.json_file import load_json, parse_json, read_json_object, write_json

DEEP = b'{"a":' * 100_000


def read(path: Path, **options: Any) -> Any:
    arguments = {"parse": dict, "refusal": ModelFolderInvalid, "detail": "is no card", "hint": "Make it again.", **options}
    return read_json_object(path, **arguments)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"format": "card/1", "x": [1, "ä"]}, indent=1)
    assert path.read_bytes() == b'{\n "format": "card/1",\n "x": [\n  1,\n  "\\u00e4"\n ]\n}\n'
    assert read(path, tag=("format", "card/1"), parse=lambda values: values["x"]) == [1, "ä"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_of_json_are_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.json").write_text('{"a": "ä"}', encoding)
    assert read(tmp_path / "a.json") == {"a": "ä"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "JSONDecodeError: Expecting value"),
        (b"{nonsense", "JSONDecodeError"),
        (b'"\xff"', "UnicodeDecodeError"),
        (DEEP, "ValueError: nested too deep"),
        (b"[]", "ValueError: no JSON object"),
        (b"1", "ValueError: no JSON object"),
        (b'{"format": "card/2"}', "ValueError: format 'card/2', where 'card/1' was expected"),
        (b"{}", "ValueError: format 'None', where 'card/1' was expected"),
        (b'{"format": ["card/1"]}', "where 'card/1' was expected"),
    ],
)
def test_another_form_is_refused_with_its_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ModelFolderInvalid) as caught:
        read(path, tag=("format", "card/1"))
    assert str(caught.value).startswith(f"{path}: is no card (")
    assert reason in str(caught.value)
    assert str(caught.value).endswith("). Make it again.")


def test_the_budget_is_the_last_byte_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": 1}')
    assert read(path, budget=8) == {"a": 1}
    with pytest.raises(ModelFolderInvalid, match="more than 7 bytes"):
        read(path, budget=7)


def test_an_absent_file_is_refused_without_its_path_in_the_fact(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path / "patient.json", refusal=InputError, source=tmp_path)
    assert caught.value.source == str(tmp_path)
    assert caught.value.redacted() == "is no card (No such file or directory). Make it again."


@pytest.mark.parametrize("parse", [lambda values: values["b"], lambda values: int(values["a"]), lambda values: values["a"].none])
def test_what_cannot_be_parsed_is_refused(tmp_path: Path, parse: Any) -> None:
    write_json(tmp_path / "a.json", {"a": "x"})
    with pytest.raises(ModelFolderInvalid, match="is no card"):
        read(tmp_path / "a.json", parse=parse)


def test_typed_errors_of_the_parser_pass_through(tmp_path: Path) -> None:
    def parse(values: dict[str, Any]) -> None:
        raise InputError("another", hint="Another.")

    write_json(tmp_path / "a.json", {})
    with pytest.raises(InputError, match="another"):
        read(tmp_path / "a.json", parse=parse)


def test_lists_and_bytes_are_read_without_a_refusal(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [1, None])
    assert load_json(tmp_path / "a.json") == parse_json(json.dumps([1, None]).encode()) == [1, None]
    for content in (b"", DEEP, b"\xff"):
        with pytest.raises(ValueError, match=r"."):
            parse_json(content)
    with pytest.raises(FileNotFoundError):
        load_json(tmp_path / "absent.json")

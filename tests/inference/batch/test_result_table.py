from __future__ import annotations

import json
from pathlib import Path

import pytest

from thoracle.errors import OutputConflict
from thoracle.inference.batch.result_table import ResultTable

SETTINGS = {"model": "abc", "preprocess": {"spacing": (1.5, 0.75)}}
COLUMNS = ("Emphysema", "Lung, nodule")


def table(path: Path, **changed: object) -> ResultTable:
    return ResultTable(path, columns=COLUMNS, settings={**SETTINGS, **changed})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out" / "predictions.csv"


def test_rows_are_there_for_the_next_run(path: Path) -> None:
    table(path).add('a "quoted", name.nii', ("0.1", "0.2"))
    assert table(path).rows == {'a "quoted", name.nii': ("0.1", "0.2")}


@pytest.mark.parametrize("cut", range(1, 40))
def test_whatever_a_killed_run_left_is_continued(path: Path, cut: int) -> None:
    first = table(path)
    first.add("a.nii", ("0.1", "0.2"))
    first.add("b.nii", ("0.3", "0.4"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    resumed = table(path)
    assert set(resumed.rows) <= {"a.nii"}
    for name, row in (("a.nii", ("0.1", "0.2")), ("b.nii", ("0.3", "0.4"))):
        if name not in resumed.rows:
            resumed.add(name, row)
    assert path.read_bytes() == whole


def test_a_cut_header_is_written_again(path: Path) -> None:
    table(path)
    path.write_bytes(path.read_bytes()[:7])
    table(path).add("a.nii", ("0.1", "0.2"))
    assert path.read_text() == 'VolumeName,Emphysema,"Lung, nodule"\na.nii,0.1,0.2\n'


def test_another_model_does_not_continue_a_table(path: Path) -> None:
    table(path).add("a.nii", ("0.1", "0.2"))
    before = path.read_bytes()
    with pytest.raises(OutputConflict, match="another model"):
        table(path, model="xyz")
    assert path.read_bytes() == before


def test_a_file_of_someone_else_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("my thesis")
    with pytest.raises(OutputConflict, match=r"run\.json"):
        table(path)
    assert path.read_text() == "my thesis"


@pytest.mark.parametrize("content", ["", "[]", "{nonsense", "1"])
def test_a_damaged_run_description_is_an_error(path: Path, content: str) -> None:
    table(path)
    path.with_name("predictions.csv.run.json").write_text(content)
    with pytest.raises(OutputConflict):
        table(path)


def test_other_columns_are_an_error(path: Path) -> None:
    table(path)
    path.write_text("VolumeName,Other\nx,1\n")
    with pytest.raises(OutputConflict, match="columns"):
        table(path)


def test_failures_are_those_of_the_last_run(path: Path) -> None:
    first = table(path)
    first.fail("a.nii", "GantryTilt", "slices are sheared. Ask for the original.")
    errors = path.with_name("predictions.errors.csv")
    assert errors.read_text() == "VolumeName,error,message\na.nii,GantryTilt,slices are sheared. Ask for the original.\n"
    table(path)
    assert not errors.exists()


def test_warnings_are_kept(path: Path) -> None:
    table(path).warn("a.nii", ("not a chest", "a child"))
    assert path.with_name("predictions.warnings.csv").read_text().splitlines()[1:] == ["a.nii,not a chest", "a.nii,a child"]


def test_the_run_description_says_what_the_numbers_depend_on(path: Path) -> None:
    table(path)
    assert json.loads(path.with_name("predictions.csv.run.json").read_text()) == {
        "schema": "thoracle.run/2",
        "model": "abc",
        "preprocess": {"spacing": [1.5, 0.75]},
    }

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from thoracle.errors import OutputConflict
from thoracle.inference.batch.result_table import ResultTable, RowSource

SETTINGS = {"model": "abc", "preprocess": {"spacing": (1.5, 0.75)}}
COLUMNS = ("Emphysema", "Lung, nodule")
SOURCE = RowSource(sha256="f" * 64, series="1.2.3", reading="row", stamp="s", folder="1-2")
HEADER = 'VolumeName,source_sha256,series,Emphysema,"Lung, nodule"\n'
_HOLDER = """
import sys, time
from pathlib import Path
from thoracle.inference.batch.result_table import ResultTable
with ResultTable(Path(sys.argv[1]), columns=("Emphysema", "Lung, nodule"), settings={"model": "abc"}):
    print("held", flush=True)
    time.sleep(600)
"""


def table(path: Path, **changed: object) -> ResultTable:
    return ResultTable(path, columns=COLUMNS, settings={**SETTINGS, **changed})


def add(path: Path, *rows: tuple[str, tuple[str, str]], source: RowSource = SOURCE) -> None:
    with table(path) as rows_of:
        for name, values in rows:
            rows_of.add(name, values, source=source)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out" / "predictions.csv"


def test_rows_and_what_they_were_made_of_are_there_for_the_next_run(path: Path) -> None:
    add(path, ('a "quoted", name.nii', ("0.1", "0.2")))
    with table(path) as again:
        assert again.rows == {'a "quoted", name.nii': ("0.1", "0.2")}
        assert again.sources == {'a "quoted", name.nii': SOURCE}
    assert path.read_text() == HEADER + f'"a ""quoted"", name.nii",{"f" * 64},1.2.3,0.1,0.2\n'


def test_names_that_a_spreadsheet_would_run_are_text_and_are_known_again(path: Path) -> None:
    name = "=HYPERLINK(evil).nii.gz"
    add(path, (name, ("0.1", "0.2")))
    with table(path) as again:
        assert again.sources == {name: SOURCE}
        again.warn(name, ["odd"])
        again.add(name, ("0.3", "0.4"), source=SOURCE)
    for line in (path.read_text().splitlines()[1], path.with_suffix(".warnings.csv").read_text().splitlines()[1]):
        assert line.startswith(f"'{name},")
    with table(path) as again:
        assert again.rows == {name: ("0.3", "0.4")}
        again.warn(name, [])
    assert name not in path.with_suffix(".warnings.csv").read_text()


@pytest.mark.parametrize("cut", range(1, 140))
def test_whatever_a_killed_run_left_is_continued(path: Path, cut: int) -> None:
    add(path, ("a.nii", ("0.1", "0.2")), ("b.nii", ("0.3", "0.4")))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with table(path) as resumed:
        assert set(resumed.rows) <= {"a.nii"}
        assert set(resumed.sources) == set(resumed.rows)
        for name, row in (("a.nii", ("0.1", "0.2")), ("b.nii", ("0.3", "0.4"))):
            if name not in resumed.rows:
                resumed.add(name, row, source=SOURCE)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("cut", [1, 20, 80])
def test_a_cut_file_of_sources_costs_only_what_it_vouched_for(path: Path, cut: int) -> None:
    """The bytes stand in the row itself; how they were read does not."""
    add(path, ("a.nii", ("0.1", "0.2")), ("b.nii", ("0.3", "0.4")))
    sources = path.with_name("predictions.sources.csv")
    sources.write_bytes(sources.read_bytes()[:-cut])
    with table(path) as again:
        assert again.sources["a.nii"] == SOURCE
        assert again.sources["b.nii"] == RowSource(sha256="f" * 64, series="1.2.3")
    sources.unlink()
    with table(path) as again:
        assert again.sources["a.nii"] == RowSource(sha256="f" * 64, series="1.2.3")


def test_a_source_of_other_bytes_vouches_for_nothing(path: Path) -> None:
    add(path, ("a.nii", ("0.1", "0.2")))
    path.write_text(path.read_text().replace("f" * 64, "0" * 64))
    with table(path) as again:
        assert again.sources["a.nii"] == RowSource(sha256="0" * 64, series="1.2.3")


def test_a_row_is_replaced_where_it_stands(path: Path) -> None:
    add(path, ("a.nii", ("0.1", "0.2")), ("b.nii", ("0.3", "0.4")))
    other = replace(SOURCE, sha256="0" * 64)
    add(path, ("a.nii", ("0.5", "0.6")), source=other)
    assert path.read_text() == HEADER + f"a.nii,{'0' * 64},1.2.3,0.5,0.6\nb.nii,{'f' * 64},1.2.3,0.3,0.4\n"
    with table(path) as again:
        assert again.sources == {"a.nii": other, "b.nii": SOURCE}


def test_a_row_is_dropped_with_its_warnings(path: Path) -> None:
    add(path, ("a.nii", ("0.1", "0.2")), ("b.nii", ("0.3", "0.4")))
    with table(path) as again:
        again.warn("a.nii", ("a child",))
        again.warn("b.nii", ("not a chest",))
        again.drop("a.nii")
    with table(path) as again:
        assert again.rows == {"b.nii": ("0.3", "0.4")}
    assert path.with_name("predictions.warnings.csv").read_text() == "VolumeName,warning\nb.nii,not a chest\n"


def test_bytes_that_lie_elsewhere_now_are_vouched_for(path: Path) -> None:
    add(path, ("a.nii", ("0.1", "0.2")))
    moved = replace(SOURCE, stamp="t", folder="3-4")
    with table(path) as again:
        before = path.read_bytes()
        again.vouch("a.nii", moved)
        with pytest.raises(ValueError, match="another source"):
            again.vouch("a.nii", replace(moved, reading="another row"))
    assert path.read_bytes() == before
    with table(path) as again:
        assert again.sources["a.nii"] == moved


def test_a_second_run_is_refused_and_cuts_nothing(path: Path) -> None:
    command = [sys.executable, "-c", _HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"held"
        path.write_bytes(path.read_bytes() + b"a.nii,half of a li")  # what the first is writing
        with pytest.raises(OutputConflict, match=r"another run is writing predictions\.csv"):
            ResultTable(path, columns=COLUMNS, settings={"model": "abc"})
        assert path.read_bytes().endswith(b"half of a li")
        ResultTable(path.with_name("other.csv"), columns=COLUMNS, settings={"model": "abc"})  # beside it, one may
        process.send_signal(signal.SIGKILL)
    with ResultTable(path, columns=COLUMNS, settings={"model": "abc"}) as again:
        assert again.rows == {}


def test_a_cut_header_is_written_again(path: Path) -> None:
    add(path)
    path.write_bytes(path.read_bytes()[:7])
    add(path, ("a.nii", ("0.1", "0.2")))
    assert path.read_text() == HEADER + f"a.nii,{'f' * 64},1.2.3,0.1,0.2\n"


def test_another_model_does_not_continue_a_table(path: Path) -> None:
    add(path, ("a.nii", ("0.1", "0.2")))
    before = path.read_bytes()
    with pytest.raises(OutputConflict, match="another model"):
        table(path, model="xyz")
    assert path.read_bytes() == before


def test_a_table_of_an_older_form_says_how_it_is_made_anew(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('VolumeName,Emphysema,"Lung, nodule"\na.nii,0.1,0.2\n')
    path.with_name("predictions.csv.run.json").write_text(json.dumps({"schema": "thoracle.run/2", **SETTINGS}))
    with pytest.raises(
        OutputConflict, match=r"Move predictions\.csv and predictions\.csv\.run\.json away, and give the same command again"
    ):
        table(path)
    path.unlink()
    path.with_name("predictions.csv.run.json").unlink()
    add(path, ("a.nii", ("0.1", "0.2")))


def test_a_file_of_someone_else_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("my thesis")
    with pytest.raises(OutputConflict, match=r"run\.json"):
        table(path)
    assert path.read_text() == "my thesis"


@pytest.mark.parametrize("content", ["", "[]", "{nonsense", "1"])
def test_a_damaged_run_description_is_an_error(path: Path, content: str) -> None:
    add(path)
    path.with_name("predictions.csv.run.json").write_text(content)
    with pytest.raises(OutputConflict):
        table(path)


def test_other_columns_are_an_error(path: Path) -> None:
    add(path)
    path.write_text("VolumeName,Other\nx,1\n")
    with pytest.raises(OutputConflict, match="columns"):
        table(path)


def test_failures_are_those_of_the_last_run(path: Path) -> None:
    errors = path.with_name("predictions.errors.csv")
    with table(path) as first:
        first.fail("a.nii", "GantryTilt", "slices are sheared. Ask for the original.")
        assert errors.read_text() == "VolumeName,error,message\na.nii,GantryTilt,slices are sheared. Ask for the original.\n"
    add(path)
    assert not errors.exists()


def test_warnings_are_of_the_last_reading(path: Path) -> None:
    warnings = path.with_name("predictions.warnings.csv")
    with table(path) as first:
        first.warn("a.nii", ("not a chest", "a child"))
        first.warn("b.nii", ("a child",))
    assert warnings.read_text().splitlines()[1:] == ["a.nii,not a chest", "a.nii,a child", "b.nii,a child"]
    with table(path) as again:
        again.warn("a.nii", ("contrast",))
        again.warn("b.nii", ())
    assert warnings.read_text().splitlines()[1:] == ["a.nii,contrast"]


def test_the_run_description_says_what_the_numbers_depend_on(path: Path) -> None:
    add(path)
    assert json.loads(path.with_name("predictions.csv.run.json").read_text()) == {
        "schema": "thoracle.run/3",
        "model": "abc",
        "preprocess": {"spacing": [1.5, 0.75]},
    }

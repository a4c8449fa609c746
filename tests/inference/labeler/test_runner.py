from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from thoracle.errors import InputError, MetadataError, OutputConflict, WorkerKilled
from thoracle.inference.labeler.evidence import Labels
from thoracle.inference.labeler.report_table import ReportTable
from thoracle.inference.labeler.rules import RuleLabeller
from thoracle.inference.labeler.runner import label_table
from thoracle.types import ABNORMALITIES

COUNT = 620  # three batches
WORDS = ("A nodule is seen in the lingula.", "No effusion was found in the chest.", "", "Die Lunge ist frei und das Herz normal groß.")


@pytest.fixture
def table(tmp_path: Path) -> ReportTable:
    path = tmp_path / "reports.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("AccessionNo", "report_text"), *((f"r{n}", WORDS[n % 4]) for n in range(COUNT))])
    return ReportTable(path=path)


def run(table: ReportTable, out: Path, **options: Any) -> None:
    list(label_table(table, options.pop("labeller", RuleLabeller()), out=out, evidence=out.with_suffix(".jsonl"), **options))


def read(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_rows_stand_in_order_and_unknown_is_empty(table: ReportTable, tmp_path: Path) -> None:
    run(table, tmp_path / "labels.csv", workers=2)
    header, *rows = read(tmp_path / "labels.csv")
    assert header == ["AccessionNo", *ABNORMALITIES]
    assert [row[0] for row in rows] == [f"r{n}" for n in range(COUNT)]
    nodule = 1 + ABNORMALITIES.index("Lung nodule")
    assert [row[nodule] for row in rows[:4]] == ["1", "0", "", ""]
    assert set(rows[2][1:]) == set(rows[3][1:]) == {""}
    unknown = read(tmp_path / "labels.unknown.csv")
    assert unknown[:3] == [["row", "id", "reason"], ["2", "r2", "no text"], ["3", "r3", "not English"]]
    assert len(unknown) == 1 + COUNT // 2
    evidence = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert [one["id"] for one in evidence] == [row[0] for row in rows]
    assert evidence[0]["labels"]["Lung nodule"]["evidence"][0]["sentence"] == "A nodule is seen in the lingula"


def test_an_id_is_no_formula_of_a_spreadsheet(tmp_path: Path) -> None:
    names = ["=1+1", "@cmd", "-7", "+a", "r1"]
    with (tmp_path / "reports.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("AccessionNo", "report_text"), *((name, "") for name in names)])
    run(ReportTable(path=tmp_path / "reports.csv"), tmp_path / "labels.csv")
    for rows in (read(tmp_path / "labels.csv")[1:], [row[1:] for row in read(tmp_path / "labels.unknown.csv")[1:]]):
        assert [row[0] for row in rows] == ["'=1+1", "'@cmd", "-7", "'+a", "r1"]
    evidence = [json.loads(line)["id"] for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert evidence == names, "which no spreadsheet opens"


@pytest.mark.parametrize("cut", [0, 1, 7, 2000, 20_000, 10**9])
def test_whatever_a_killed_run_left_is_continued(table: ReportTable, tmp_path: Path, cut: int) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "labels.csv"
    run(table, whole)
    run(table, out)
    out.write_bytes(out.read_bytes()[: max(0, out.stat().st_size - cut)])
    run(table, out)
    for suffix in (".csv", ".jsonl", ".unknown.csv"):
        assert out.with_suffix(suffix).read_bytes() == whole.with_suffix(suffix).read_bytes()


class Stopping(RuleLabeller):
    """Is killed at its second batch."""

    parallel = False

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def label(self, reports: Sequence[str]) -> list[Labels]:
        self.calls += 1
        if self.calls == 2:
            raise KeyboardInterrupt
        return super().label(reports)


def test_a_stopped_run_keeps_whole_batches_and_goes_on(table: ReportTable, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    with pytest.raises(KeyboardInterrupt):
        run(table, out, labeller=Stopping())
    done = len(read(out)) - 1
    assert 0 < done < COUNT
    steps = list(label_table(table, RuleLabeller(), out=out, evidence=out.with_suffix(".jsonl")))
    assert [(step.completed, step.now) for step in steps][-1] == (COUNT, COUNT - done)
    assert steps[-1].unknown == COUNT // 2


class Dying(RuleLabeller):
    """Kills its process at the second batch: always, or where `once` is a file, only the first time."""

    def __init__(self, once: Path | None = None) -> None:
        super().__init__()
        self.once = once

    def label(self, reports: Sequence[str]) -> list[Labels]:
        is_second = not reports[0]  # row 250 has no text, row 0 and row 500 have
        if is_second and (self.once is None or not self.once.exists()):
            if self.once is not None:
                self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().label(reports)


def test_a_killed_worker_changes_nothing(table: ReportTable, tmp_path: Path) -> None:
    run(table, tmp_path / "whole.csv")
    run(table, tmp_path / "labels.csv", workers=2, labeller=Dying(tmp_path / "once"))
    assert (tmp_path / "once").exists()
    assert (tmp_path / "labels.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.slow
def test_a_batch_that_kills_its_workers_stops_the_run_behind_the_rows_before_it(table: ReportTable, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    with pytest.raises(WorkerKilled):
        run(table, out, workers=2, labeller=Dying())
    assert len(read(out)) == 1 + 250
    run(table, out)
    assert len(read(out)) == 1 + COUNT


def test_labels_of_something_else_are_not_continued(table: ReportTable, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    run(table, out)
    with table.path.open("a") as file:
        file.write("new,Hernia.\n")
    with pytest.raises(OutputConflict, match="was made with another reports"):
        run(table, out)
    (tmp_path / "mine.csv").write_text("a,b\n")
    with pytest.raises(OutputConflict):
        run(table, tmp_path / "mine.csv")


def test_labels_belong_to_the_bytes_of_the_reports_not_to_their_number(table: ReportTable, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    run(table, out)
    content = table.path.read_bytes()
    table.path.write_bytes(content.swapcase())
    with pytest.raises(OutputConflict, match="was made with another reports"):
        run(table, out)


def test_a_second_run_is_refused(table: ReportTable, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    first = label_table(table, RuleLabeller(), out=out, evidence=out.with_suffix(".jsonl"))
    next(first)
    with pytest.raises(OutputConflict, match=r"another run is writing labels\.csv"):
        run(table, out)
    assert len(list(first)) > 0
    run(table, out)


def test_reports_are_not_written_over(table: ReportTable) -> None:
    with pytest.raises(InputError, match="written over"):
        list(label_table(table, RuleLabeller(), out=table.path))


def test_labels_and_evidence_are_two_files(table: ReportTable, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    out.touch()
    (tmp_path / "soft").symlink_to(out)
    (tmp_path / "hard").hardlink_to(out)
    for evidence in (out, tmp_path / "soft", tmp_path / "hard", tmp_path / "labels.unknown.csv", tmp_path / "labels.csv.run.json"):
        with pytest.raises(InputError, match="to one file"):
            list(label_table(table, RuleLabeller(), out=out, evidence=evidence))
    (tmp_path / "reports").symlink_to(table.path)
    with pytest.raises(InputError, match="written over"):
        list(label_table(table, RuleLabeller(), out=out, evidence=tmp_path / "reports"))


def test_a_start_that_fails_leaves_nothing_behind(table: ReportTable, tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if path.suffix != ".lock"}
    wrong = ReportTable(path=table.path, text_columns=("findings",))
    with pytest.raises(MetadataError, match="has no column findings"):
        run(wrong, tmp_path / "labels.csv")
    with pytest.raises(RuntimeError):
        run(table, tmp_path / "labels.csv", labeller=Broken())
    assert {path for path in tmp_path.rglob("*") if path.suffix != ".lock"} == before
    run(table, tmp_path / "labels.csv")


class Broken(RuleLabeller):
    """Fails at once, as a server that is not there."""

    parallel = False

    def label(self, reports: Sequence[str]) -> list[Labels]:
        raise RuntimeError("no server")


@pytest.mark.parametrize("cut", [1, 3, 20, 39, 41, 60])
def test_ids_with_line_ends_and_quotes_are_continued(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "reports.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("AccessionNo", "report_text"), ("a", "Nodule."), ('b\n"x"\nc', "Hernia."), ("d\ne", "Effusion.")])
    table, whole, out = ReportTable(path=path), tmp_path / "whole.csv", tmp_path / "labels.csv"
    run(table, whole)
    run(table, out)
    out.write_bytes(out.read_bytes()[:-cut])
    run(table, out)
    assert out.read_bytes() == whole.read_bytes()
    assert [row[0] for row in read(out)[1:]] == ["a", 'b\n"x"\nc', "d\ne"]


def test_ids_that_a_spreadsheet_runs_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    names = ["=HYPERLINK(1)", "+cmd", "-1+2", "@sum", "-17", "3.5", "a=b"]
    path.write_text("AccessionNo,report_text\n" + "".join(f"{name},Nodule.\n" for name in names))
    (step,) = label_table(ReportTable(path=path), RuleLabeller(), out=tmp_path / "labels.csv")
    assert step.formulas == 4


def test_states_in_place_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    text = "Small effusion. No nodule. Possible emphysema. History of bronchiectasis."
    path.write_text(f"AccessionNo,report_text\n1,{text}\n2,\n")
    table, out = ReportTable(path=path), tmp_path / "labels.csv"
    list(label_table(table, RuleLabeller(), out=out, states=True))
    first, second = csv.DictReader(out.open())
    names = ("Pleural effusion", "Lung nodule", "Emphysema", "Bronchiectasis", "Hiatal hernia")
    assert [first[name] for name in names] == ["stated", "denied", "uncertain", "not mentioned", "not mentioned"]
    assert {second[name] for name in ABNORMALITIES} == {""}
    with pytest.raises(OutputConflict):
        list(label_table(table, RuleLabeller(), out=out))

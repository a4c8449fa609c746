from __future__ import annotations

import csv
from pathlib import Path

import pytest

from thoracle.types import RESEARCH_USE


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    path = tmp_path / "reports.csv"
    path.write_text("AccessionNo,report_text\na,A nodule is seen in the lingula.\nb,The heart is bigger than usual.\n")
    return path


def test_a_table_is_labelled(command, reports: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    ran = command("label", reports, "--out", out, "--evidence", tmp_path / "why.jsonl", "--workers", 1)
    assert ran.status == 0, ran.err
    with out.open() as file:
        rows = {row["AccessionNo"]: row for row in csv.DictReader(file)}
    assert (rows["a"]["Lung nodule"], rows["a"]["Cardiomegaly"]) == ("1", "0")
    assert (rows["b"]["Lung nodule"], rows["b"]["Cardiomegaly"]) == ("0", "1")
    assert RESEARCH_USE in ran.err
    assert (tmp_path / "why.jsonl").read_text().count("\n") == 2


def test_a_report_without_labels_shows_in_the_exit_status(command, reports: Path, tmp_path: Path) -> None:
    with reports.open("a") as file:
        file.write("c,\n")
    ran = command("label", reports, "--out", tmp_path / "labels.csv", "--workers", 1)
    assert ran.status == 1
    assert "1 of them unknown" in ran.err
    assert (tmp_path / "labels.unknown.csv").read_text() == "row,id,reason\n2,c,no text\n"


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--text-column", "findings"), 1, "has no column findings"),
        (("--encoding", "klingon"), 2, "no encoding"),
        (("--backend", "classifier"), 2, "--model"),
        (("--backend", "llm"), 2, "--llm-url"),
    ],
)
def test_what_is_wrong_is_said(command, reports: Path, tmp_path: Path, options: tuple[str, ...], status: int, words: str) -> None:
    ran = command("label", reports, "--out", tmp_path / "labels.csv", *options)
    assert ran.status == status
    assert words in ran.err
    assert not list(tmp_path.glob("labels*"))


def test_abnormalities_of_ones_own_and_states(command, reports: Path, tmp_path: Path) -> None:
    rules = tmp_path / "own.yaml"
    rules.write_text("abnormalities:\n  - abnormality: Lingula\n    rules:\n      - id: word\n        find: ['lingula']\n")
    ran = command("label", reports, "--out", tmp_path / "own.csv", "--rules", rules, "--states", "--workers", 1)
    assert ran.status == 0, ran.err
    assert (tmp_path / "own.csv").read_text() == "AccessionNo,Lingula\na,stated\nb,not mentioned\n"
    rules.write_text("abnormalities:\n  - abnormality: Lingula\n    rules:\n      - id: word\n        find: lingula\n")
    ran = command("label", reports, "--out", tmp_path / "other.csv", "--rules", rules)
    assert ran.status == 2
    assert "abnormalities[0].rules[0].find: expected a list" in ran.err
    assert not (tmp_path / "other.csv").exists()


def test_ids_that_a_spreadsheet_runs_are_said(command, reports: Path, tmp_path: Path) -> None:
    reports.write_text("AccessionNo,report_text\n=1+1,A nodule is seen in the lingula.\n")
    ran = command("label", reports, "--out", tmp_path / "labels.csv", "--workers", 1)
    assert "1 ids begin as a formula does" in ran.err

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.language_server import FAULTS, LanguageServer
from thoracle.inference.llm import openai_client
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
    assert "1 ids begin as a formula does: an apostrophe stands before them in labels.csv" in ran.err
    assert (tmp_path / "labels.csv").read_text().splitlines()[1].startswith("'=1+1,")


STATED = json.dumps({"stated": [{"finding": "Lung nodule", "quote": "A nodule of 4 mm"}], "denied": []})


@pytest.fixture
def paid(language_server: LanguageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """The command, on ninety reports and a server."""
    monkeypatch.setattr(openai_client, "_PAUSE", 0.0)
    rows = "".join(f'r{number},"A nodule of 4 mm is seen in the lung. Number {number}."\n' for number in range(90))
    (tmp_path / "reports.csv").write_text(f"AccessionNo,report_text\n{rows}")
    language_server.say = lambda _: (200, STATED)
    return ("label", tmp_path / "reports.csv", "--out", tmp_path / "out.csv", "--backend", "llm", "--llm-url", language_server.address)


def test_a_server_that_goes_away_costs_no_answer_that_it_gave(
    command: Callable[..., Any], paid: tuple[object, ...], language_server: LanguageServer, tmp_path: Path
) -> None:
    language_server.say = lambda _: (200 if len(language_server.asked) <= 50 else 401, STATED)
    ran = command(*paid)
    assert (ran.status, "answers 401" in ran.err) == (1, True), ran.err
    assert len((tmp_path / "out.csv.answers.jsonl").read_text().splitlines()) == 50
    language_server.asked.clear()
    language_server.say = lambda _: (200, STATED)
    ran = command(*paid)
    assert ran.status == 0, ran.err
    assert len(language_server.asked) == 40
    rows = (tmp_path / "out.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == [f"r{number}" for number in range(90)], "in the order of the table"
    assert "90 reports, 0 of them unknown" in ran.err


@pytest.mark.parametrize(("fault", "reason"), [*FAULTS, ({"say": lambda _: (200, "I cannot say.")}, "no whole JSON object")])
def test_a_report_without_an_answer_is_unknown_and_says_why(
    fault: dict[str, Any],
    reason: str,
    command: Callable[..., Any],
    paid: tuple[object, ...],
    language_server: LanguageServer,
    tmp_path: Path,
) -> None:
    (tmp_path / "reports.csv").write_text('AccessionNo,report_text\nr1,"A nodule of 4 mm is seen in the lung."\n')
    for name, value in fault.items():
        setattr(language_server, name, value)
    ran = command(*paid, "--max-tokens", 50, "--timeout", 0.3)
    assert (ran.status, "1 reports, 1 of them unknown" in ran.err) == (1, True), ran.err
    assert reason in (tmp_path / "out.unknown.csv").read_text()


@pytest.mark.slow
def test_ctrl_c_ends_the_servers_work(paid: tuple[object, ...], language_server: LanguageServer) -> None:
    gone = threading.Event()
    language_server.say = lambda _: (gone.wait(200), (200, STATED))[1]
    arguments = [sys.executable, "-c", _INTERRUPTED, *map(str, paid)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        while len(language_server.asked) < 4 and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    gone.set()
    assert process.returncode == 130, err
    assert len(language_server.asked) == 4


_INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background inherits that Ctrl-C is ignored
sys.argv = ["thoracle", *sys.argv[1:]]
from thoracle.cli.app import main
main()
"""

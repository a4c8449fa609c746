"""A run over many reports: in order, each kept as it comes, and none asked for twice unless it is another report, prompt or model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.language_server import FAULTS, LanguageServer
from thoracle.errors import EndpointFailed
from thoracle.inference.chat import question_writer_run
from thoracle.inference.chat.question_writer_run import write_all_questions
from thoracle.inference.llm import openai_client
from thoracle.inference.llm.openai_client import OpenAIClient

REPORT = "There is a small left pleural effusion. No lung nodule is seen. The heart is of normal size."
PAIR = {"task": "short_answer", "question": "Is there a pleural effusion?", "answer": "Yes."}
WRITTEN = json.dumps({"questions": [PAIR, {**PAIR, "answer": "No."}]})


def test_a_run_that_was_stopped_asks_for_no_report_twice(language_server: LanguageServer, tmp_path: Path) -> None:
    reports = {f"v{k}": f"{REPORT} Scan {k}." for k in range(6)}
    kept = tmp_path / "out" / "vqa.json.written.jsonl"

    def answer(body: dict[str, Any]) -> tuple[int, str]:
        broken = "Scan 4." in body["messages"][-1]["content"] and len(language_server.asked) < 7
        return (401 if broken else 200), WRITTEN

    language_server.say = answer
    generate = OpenAIClient(language_server.address, model="m").generate
    with pytest.raises(EndpointFailed, match="answers 401"):
        list(write_all_questions(generate, reports, llm="m", journal=kept))
    assert len(kept.read_text().splitlines()) == len(language_server.asked) - 1, "what is under way is waited for"
    with kept.open("a") as file:
        file.write('{"key": "cut')  # as a failing machine leaves it
    before = len(language_server.asked)
    language_server.say = lambda _: (200, WRITTEN)
    again = dict(write_all_questions(generate, reports, llm="m", journal=kept))
    assert set(again) == set(reports)
    assert all(len(written.pairs) == 1 for written in again.values())
    assert len(language_server.asked) == before + 6 - (before - 1)
    assert len(dict(write_all_questions(generate, reports, llm="another", journal=kept))) == 6
    assert len(language_server.asked) == 7 + 6, "another model is asked"


def test_one_report_that_fails_is_told_and_asked_about_again(language_server: LanguageServer, tmp_path: Path) -> None:
    language_server.say = lambda body: (200, "sorry" if "Scan 1." in body["messages"][0]["content"] else WRITTEN)
    generate, reports = OpenAIClient(language_server.address, model="m").generate_whole, {f"v{k}": f"{REPORT} Scan {k}." for k in range(3)}
    written = dict(write_all_questions(generate, reports, llm="m", journal=tmp_path / "journal.jsonl"))
    assert "not of the form" in written["v1"].detail
    assert [len(written[name].pairs) for name in ("v0", "v2")] == [1, 1]
    language_server.say = lambda _: (200, WRITTEN)
    language_server.asked.clear()
    assert len(dict(write_all_questions(generate, reports, llm="m", journal=tmp_path / "journal.jsonl"))["v1"].pairs) == 1
    assert len(language_server.asked) == 1


def test_what_was_dropped_and_what_cannot_be_asked_comes_back_from_the_journal(language_server: LanguageServer, tmp_path: Path) -> None:
    language_server.say = lambda _: (200, WRITTEN)
    generate = OpenAIClient(language_server.address, model="m").generate
    reports = {"b": REPORT, "a": ""}
    first = dict(write_all_questions(generate, reports, llm="m", journal=tmp_path / "out" / "journal.jsonl"))
    written, empty = first["b"], first["a"]
    assert ([pair.answer for pair in written.pairs], written.dropped) == (["Yes."], 1)
    assert empty.why == "the report cannot be labelled: no text"
    assert dict(write_all_questions(generate, reports, llm="m", journal=tmp_path / "out" / "journal.jsonl")) == first
    assert len(language_server.asked) == 1


@pytest.mark.parametrize("change", ["report", "prompt", "model", "volume"])
def test_a_line_of_something_else_is_not_gone_by(
    change: str, language_server: LanguageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    language_server.say = lambda _: (200, WRITTEN)
    generate, journal = OpenAIClient(language_server.address, model="m").generate, tmp_path / "journal.jsonl"
    list(write_all_questions(generate, {"v": REPORT}, llm="m", journal=journal))
    if change == "prompt":
        monkeypatch.setattr(question_writer_run, "SYSTEM", "Write better questions.")
    reports = {"w" if change == "volume" else "v": f"{REPORT} Addendum." if change == "report" else REPORT}
    assert len(list(write_all_questions(generate, reports, llm="n" if change == "model" else "m", journal=journal))) == 1
    assert len(language_server.asked) == 2
    assert len(journal.read_text().splitlines()) == 2


def test_no_report_asks_for_nothing(language_server: LanguageServer, tmp_path: Path) -> None:
    generate = OpenAIClient(language_server.address, model="m").generate
    assert list(write_all_questions(generate, {}, llm="m", journal=tmp_path / "journal.jsonl")) == []
    assert not language_server.asked


def test_a_journal_names_no_volume(language_server: LanguageServer, tmp_path: Path) -> None:
    language_server.say = lambda _: (200, WRITTEN)
    generate, journal = OpenAIClient(language_server.address, model="m").generate, tmp_path / "journal.jsonl"
    list(write_all_questions(generate, {"patient-7": REPORT}, llm="m", journal=journal))
    assert "patient-7" not in journal.read_text()
    assert set(json.loads(journal.read_text())) == {"key", "answer"}


@pytest.mark.parametrize(("fault", "words"), FAULTS)
def test_a_report_without_an_answer_says_why_and_is_not_kept(
    fault: dict[str, Any], words: str, language_server: LanguageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_client, "_PAUSE", 0.0)
    language_server.say = lambda _: (200, WRITTEN)
    for name, value in fault.items():
        setattr(language_server, name, value)
    client = OpenAIClient(language_server.address, model="m", timeout=0.3)
    many = write_all_questions(client.generate_whole, {"v": REPORT}, llm="m", journal=tmp_path / "journal.jsonl", check=client.check)
    assert words in dict(many)["v"].detail
    assert not (tmp_path / "journal.jsonl").exists()

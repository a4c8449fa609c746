"""Many questions: each answer is kept as it comes, one failure is one answer, a server that is gone ends the run."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from thoracle.errors import AnswerFailed, EndpointFailed
from thoracle.inference.llm.answer_journal import ask_all

QUESTIONS = {f"k{number}": number for number in range(20)}


def test_all_are_answered_a_few_at_a_time(tmp_path: Path) -> None:
    threads: set[int] = set()

    def square(number: int) -> int:
        threads.add(threading.get_ident())
        return number * number

    journal = tmp_path / "deep" / "answers.jsonl"
    assert dict(ask_all(square, QUESTIONS, journal=journal)) == {key: number * number for key, number in QUESTIONS.items()}
    assert len(threads) <= 4
    assert {entry["key"]: entry["answer"] for entry in map(json.loads, journal.read_text().splitlines())} == {
        key: number * number for key, number in QUESTIONS.items()
    }
    assert dict(ask_all(pytest.fail, QUESTIONS, journal=journal)) == {key: number * number for key, number in QUESTIONS.items()}
    assert dict(ask_all(square, {}, journal=None)) == {}


def test_one_failure_is_one_answer_and_is_not_kept(tmp_path: Path) -> None:
    checks: list[int] = []

    def ask(number: int) -> int:
        if number == 3:
            raise AnswerFailed("too long", hint="Shorten it.")
        return number

    answers = dict(ask_all(ask, QUESTIONS, journal=tmp_path / "a.jsonl", check=lambda: checks.append(1)))
    assert answers.pop("k3").detail == "too long"
    assert answers == {key: number for key, number in QUESTIONS.items() if number != 3}
    assert checks == [1], "is the server still there?"
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 19


@pytest.mark.parametrize("where", ["answer", "check"])
def test_a_server_that_is_gone_ends_the_run_after_what_is_under_way(where: str, tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def ask(number: int) -> int:
        if number < 4:
            together.wait(10)
        if number == 0:
            raise (EndpointFailed if where == "answer" else AnswerFailed)("is away", hint="Start it.")
        return number

    def check() -> None:
        raise EndpointFailed("is away", hint="Start it.")

    kept: dict[str, int] = {}
    with pytest.raises(EndpointFailed, match="is away"):
        kept.update(ask_all(ask, QUESTIONS, journal=tmp_path / "a.jsonl", check=check))
    assert {"k1", "k2", "k3"} <= set(kept)
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == len(kept) < 19


def test_an_interrupted_run_ends_what_is_under_way() -> None:
    closed = threading.Event()

    def ask(number: int) -> int:
        if number:
            assert closed.wait(10), "nobody closed the connection"
        return number

    answers = ask_all(ask, QUESTIONS, journal=None, close=closed.set)
    assert next(answers) == ("k0", 0)
    answers.close()
    assert closed.is_set()

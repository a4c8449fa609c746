"""`thoracle evaluate chat`: answers with the scan beside those without, what a judge adds, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.chat_training import TrainedChat
from tests.language_server import LanguageServer
from thoracle.cohort.manifest import open_cohort
from thoracle.cohort.vqa.vqa_file import read_vqa, write_questions
from thoracle.evaluation.chat.answers import answer_questions, draw_questions
from thoracle.inference.chat.session import Chat, load_chat
from thoracle.inference.llm import openai_client
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.training.chat.run import split_questions

NOTICE = "Research use only. Not a medical device."


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def asked(trained: TrainedChat, tmp_path: Path) -> tuple[Any, ...]:
    """The command, of a few questions and short answers."""
    return (
        *("evaluate", "chat", trained.chat, trained.cohort, "--questions", trained.folder / "vqa.json", "--out", tmp_path / "out"),
        *("--limit", 5, "--reports", 1, "--max-tokens", 4, "--resamples", 20),
    )


def test_answers_are_measured_beside_those_of_a_model_that_does_not_see(command, asked: tuple[Any, ...], tmp_path: Path) -> None:
    ran = command(*asked)
    assert ran.status == 0, ran.err
    assert "with the scan without it" in ran.out
    assert "distinct reports: 1.000" in ran.out, "of one report"
    assert f"Knows only noise. {NOTICE}" in ran.out
    assert "6/6" in ran.err
    document = json.loads((tmp_path / "out" / "chat.json").read_text())
    assert document["with the scan"].keys() == document["without the scan"].keys()
    assert (document["notice"], document["caution"], document["questions"]) == (NOTICE, "Knows only noise.", 5 + 1)
    answers = json.loads((tmp_path / "out" / "answers.json").read_text())
    assert len(answers) == 5 + 1
    assert sum("report" in answer["question"].lower() for answer in answers) == 1
    written = [path.read_bytes() for path in sorted((tmp_path / "out").iterdir())]
    assert command(*asked).status == 0
    assert [path.read_bytes() for path in sorted((tmp_path / "out").iterdir())] == written, "a second run says the same"


def test_answers_that_are_written_are_those_with_the_scan(command, trained: TrainedChat, asked: tuple[Any, ...], tmp_path: Path) -> None:
    ran = command(*asked)
    assert ran.status == 0, ran.err
    chat, cohort = load_chat(trained.chat), open_cohort(trained.cohort)
    held_out = split_questions(read_vqa(trained.folder / "vqa.json"), cohort, held_out="valid")[1]
    questions = draw_questions(held_out, limit=5, reports=1)
    seeing, unseeing = (
        [answered.answer for answered in answer_questions(chat, cohort, questions, sampling=SamplingOptions(max_tokens=4), blind=blind)]
        for blind in (False, True)
    )
    assert seeing != unseeing
    assert [answer["answer"] for answer in json.loads((tmp_path / "out" / "answers.json").read_text())] == seeing


def test_a_judge_scores_what_is_not_closed_and_is_named(
    command, asked: tuple[Any, ...], language_server: LanguageServer, tmp_path: Path
) -> None:
    language_server.say, language_server.models = lambda _: (200, json.dumps({"score": 7})), ["strict"]
    ran = command(*asked, "--judge-url", language_server.address, "--llm-model", "strict")
    assert ran.status == 0, ran.err
    document = json.loads((tmp_path / "out" / "chat.json").read_text())
    for way in ("with the scan", "without the scan"):
        assert document[way]["judge, 0 to 10"] == {"value": 7.0, "low": 7.0, "high": 7.0}
        assert document[way]["judge, answers scored"]["value"] == document[way]["judge, answers asked"]["value"] > 0
    assert document["judge"] == f"strict at {language_server.address}"
    assert {body["model"] for body in language_server.asked} == {"strict"}


def test_a_judge_that_does_not_answer_ends_in_1_and_leaves_nothing(command, asked: tuple[Any, ...], tmp_path: Path) -> None:
    ran = command(*asked, "--judge-url", "http://127.0.0.1:1/v1")
    assert (ran.status, "does not answer" in ran.err) == (1, True), ran.err
    assert not (tmp_path / "out").exists()


def test_answers_are_written_before_the_judge_is_asked_and_none_is_made_twice(
    command, asked: tuple[Any, ...], language_server: LanguageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_client, "_PAUSE", 0.0)
    language_server.say = lambda _: (401, "")
    ran = command(*asked, "--judge-url", language_server.address)
    assert (ran.status, "answers 401" in ran.err) == (1, True), ran.err
    answers = (tmp_path / "out" / "answers.json").read_bytes()
    assert len(json.loads(answers)) == 5 + 1
    assert not (tmp_path / "out" / "chat.json").exists()
    monkeypatch.setattr(Chat, "generate", lambda *_, **__: pytest.fail("an answer was made twice"))
    language_server.say = lambda _: (200, "I cannot say.")
    ran = command(*asked, "--judge-url", language_server.address)
    assert ran.status == 0, ran.err
    assert (tmp_path / "out" / "answers.json").read_bytes() == answers
    document = json.loads((tmp_path / "out" / "chat.json").read_text())["with the scan"]
    assert document["judge, 0 to 10"]["value"] is None, "a judge that never answers is a row"
    assert document["judge, answers scored"]["value"] == 0


def test_what_cannot_be_measured_is_refused(command, trained: TrainedChat, asked: tuple[Any, ...], tmp_path: Path) -> None:
    learned = [asking for asking in read_vqa(trained.folder / "vqa.json") if not set(asking.images) & {"v4.nii.gz", "v5.nii.gz"}]
    write_questions(tmp_path / "learned.json", learned)
    for questions, words in (
        (tmp_path / "learned.json", "no question is about a scan of the split valid. Give the cohort's own questions."),
        (tmp_path / "none.json", "none.json: no such file"),
    ):
        ran = command(*asked, "--questions", questions)
        assert (ran.status, words in ran.err) == (2, True), ran.err
    ran = command(*asked[:2], trained.encoder, *asked[3:])
    assert (ran.status, "is no chat folder" in ran.err) == (1, True), ran.err
    assert not (tmp_path / "out").exists()

"""Answers come in pieces, cite findings and cases by random ids, and join the scan's conversation when they are whole."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.language_server import LanguageServer
from tests.serving.conftest import Asked
from thoracle.client.forms.scans import ChatTurn
from thoracle.serving.jobs.job import Job
from thoracle.serving.routes.chat import _stream


def events(answer: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
    blocks = [block.split("\n") for block in answer.text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(values.removeprefix("data: "))) for name, values in blocks]


def ask(asked: Asked, scan: str, question: str, **more: Any) -> list[tuple[str, dict[str, Any]]]:
    return events(asked.client.post("/chat", json={"scan": scan, "question": question, **more}))


def test_an_answer_comes_in_pieces_with_its_sources(asked: Asked, scan: str, words: LanguageServer) -> None:
    words.words = ["The lungs ", "are hyperinflated [F8]. ", "A similar ", "case had it [C1]."]
    heard = ask(asked, scan, "Is there emphysema?")
    names = [name for name, _ in heard]
    assert names[0] == "stage"
    assert names[-3:] == ["citation", "citation", "done"]
    shown = "".join(values["delta"] for name, values in heard if name == "text")
    assert shown == heard[-1][1]["answer"]
    assert "[F8]" in shown
    assert "Research use only" in shown
    finding, case = (values for name, values in heard if name == "citation")
    assert (finding["id"], finding["kind"], finding["finding"]) == ("F8", "finding", "Emphysema")
    assert (case["id"], case["kind"], case["finding"]) == ("C1", "case", None)
    assert asked.client.get(f"/hits/{case['hit']}/thumbnail.png").status_code == 200
    assert "case_" not in json.dumps(heard)
    (turn,) = asked.client.get(f"/scans/{scan}").json()["conversation"]
    assert (turn["question"], turn["answer"], len(turn["citations"])) == ("Is there emphysema?", shown, 2)


def test_a_conversation_goes_on_and_can_be_forgotten(asked: Asked, scan: str, words: LanguageServer) -> None:
    words.words = ["Yes [F1]."]
    for question in ("First?", "Second?"):
        ask(asked, scan, question)
    assert "First?" in words.text()
    assert asked.client.delete(f"/scans/{scan}/conversation").status_code == 204
    ask(asked, scan, "Third?")
    assert "First?" not in words.text()
    assert len(asked.client.get(f"/scans/{scan}").json()["conversation"]) == 1


def test_an_answer_that_fails_says_why_and_joins_nothing(
    asked: Asked, scan: str, words: LanguageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "say", lambda _: (400, "no"))
    monkeypatch.setattr(words, "words", [])
    name, values = ask(asked, scan, "Is there emphysema?")[-1]
    assert name == "error"
    assert values["kind"] == "AnswerFailed"
    assert asked.client.get(f"/scans/{scan}").json()["conversation"] == []


def test_what_is_no_question_is_refused(asked: Asked, scan: str) -> None:
    for question in ("", " "):
        assert ask(asked, scan, question)[-1][1]["kind"] == "InputError"
    for body in ({"question": "x", "task": "poem"}, {}, {"question": ["x"]}):
        assert asked.client.post("/chat", json={"scan": scan, **body}).status_code == 422


def test_without_a_chat_model_the_hint_says_how_to_get_one(asked: Asked, scan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked.server.facts is not None
    monkeypatch.setattr(asked.server, "facts", replace(asked.server.facts, chat=None, chat_hint="Run `thoracle demo`."))
    refused = asked.client.post("/chat", json={"scan": scan, "question": "x"})
    assert (refused.status_code, refused.json()["error"]["hint"]) == (409, "Run `thoracle demo`.")


def test_an_answer_ends_with_its_own_turn_whatever_the_conversation_has_become() -> None:
    turn = ChatTurn(question="Is there?", answer="Yes.", task="long_answer", grounded=False, citations=[])
    job = Job(id="j", kind="chat", lane="models", scan="s", arguments={}, state="done")

    async def events() -> list[str]:
        return [piece async for piece in _stream(None, job, [turn])]  # type: ignore[arg-type]  # a job that has ended asks no server

    assert asyncio.run(events()) == ['event: done\ndata: {"answer": "Yes.", "job": "j"}\n\n']

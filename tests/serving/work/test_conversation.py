"""A chat model that sees the scan answers over the server as by the command; serving/routes/test_chat.py has grounded answers."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import thoracle
from tests.chat_folder import write_chat
from thoracle.errors import InputError, JobCancelled
from thoracle.inference.chat.conversation import Conversation
from thoracle.inference.chat.open_chat import open_chat
from thoracle.inference.chat.scan_tokens import scan_tokens
from thoracle.inference.chat.session import Chat
from thoracle.inference.llm.decoding import SamplingOptions
from thoracle.inference.model import load
from thoracle.inference.prepare import prepare
from thoracle.serving.jobs.worker import JobContext
from thoracle.serving.work.conversation import Respondent
from thoracle.serving.work.detection import Detector
from thoracle.serving.work.scan_folder import save_volume


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Chat:
    return open_chat(write_chat(tmp_path_factory.mktemp("chat")), encoder=None, base=None, device="cpu", notify=lambda _: None)


@pytest.fixture
def folder(sketch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    save_volume(tmp_path, thoracle.read(sketch))
    return str(tmp_path)


def test_an_answer_is_the_command_s_and_nothing_of_the_scan_stays_in_the_user_s_cache(
    chat: Chat, folder: str, sketch: Path, model_dir: Path
) -> None:
    emitted: list[Any] = []
    context = JobContext(report=lambda _: None, emit=emitted.append)
    respondent = Respondent(Detector(load(model_dir, device="cpu"), None), chat=chat, generate=chat.complete_text, find_similar=None)
    turns: list[dict[str, Any]] = []
    answers = []
    for question in ("Is there an effusion?", "Is there a nodule?"):
        answer = respondent.answer(context, scan=folder, question=question, task="short_answer", grounded=False, turns=turns)
        turns.append({"question": question, "task": "short_answer", "answer": answer.words})
        answers.append(answer.shown)
    assert not (Path(folder) / "cache").exists()
    assert "".join(event["text"] for event in emitted) == "".join(answers)
    conversation = Conversation(scans=(scan_tokens(chat.encoder, prepare(thoracle.read(sketch), chat.encoder.preprocess)),))
    sampling = SamplingOptions(max_tokens=256)
    asked = [turn["question"] for turn in turns]
    assert answers == ["".join(chat.answer(conversation, question, task="short_answer", sampling=sampling)) for question in asked]


def test_who_stops_an_answer_can_ask_the_next(chat: Chat, folder: str, model_dir: Path) -> None:
    respondent = Respondent(Detector(load(model_dir, device="cpu"), None), chat=chat, generate=chat.complete_text, find_similar=None)
    stopped, emitted = threading.Event(), list[Any]()
    context = JobContext(report=lambda _: None, emit=lambda event: (emitted.append(event), stopped.set()), cancelled=stopped)
    question: dict[str, Any] = {"scan": folder, "question": "Is there a nodule?", "task": "long_answer", "grounded": False, "turns": []}
    with pytest.raises(JobCancelled):
        respondent.answer(context, **question)
    assert len(emitted) == 1
    assert respondent.answer(replace(context, emit=emitted.append, cancelled=threading.Event()), **question).words
    with pytest.raises(InputError, match="the question is empty"):
        respondent.answer(context, **{**question, "question": "  "})

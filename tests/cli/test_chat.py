"""From a cohort to answers: questions, the three stages of a small chat model, and a conversation with it, by the commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.cli.chat_training import TrainedChat
from tests.language_server import LanguageServer
from thoracle.cohort.vqa.question_file import open_questions
from thoracle.inference.demo.locations import keep_demo_chat
from thoracle.inference.llm import openai_client
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))


def test_the_command_answers_keeps_what_was_said_and_says_what_it_is(
    trained: TrainedChat, command: Callable[..., Any], tmp_path: Path
) -> None:
    keep = tmp_path / "talk.json"
    ran = command(
        "chat", trained.scan, "--model", trained.chat, "--ask", "Is lung nodule present?", "--max-tokens", 4, "--conversation", keep
    )
    assert ran.status == 0, ran.err
    assert "Research use only" in ran.err
    assert "Knows only noise." in ran.err
    command("chat", "--model", trained.chat, "--ask", "Is there an effusion?", "--conversation", keep)
    assert [turn["question"] for turn in json.loads(keep.read_text())["turns"]] == ["Is lung nodule present?", "Is there an effusion?"]
    other = shutil.copy(trained.scan, tmp_path / "other.nii.gz")
    image = nib.load(other)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1].copy(), image.affine), other)
    before = keep.read_bytes()
    ran = command("chat", other, "--model", trained.chat, "--ask", "And now?", "--max-tokens", 4, "--conversation", keep)
    assert (ran.status, "is a conversation about other scans" in ran.err) == (2, True)
    assert keep.read_bytes() == before


def test_what_is_missing_or_elsewhere_is_said(trained: TrainedChat, command: Callable[..., Any], tmp_path: Path) -> None:
    for arguments, status, said in (
        ((trained.scan, "--ask", "Why?"), 2, "no chat model was given, and the demo has not run"),
        ((trained.scan, "--model", trained.encoder, "--ask", "Why?"), 2, "is no chat folder"),
        ((tmp_path / "absent.nii.gz", "--model", trained.chat, "--ask", "Why?"), 2, "absent.nii.gz"),
        ((trained.scan, "--model", trained.chat, "--base", tmp_path, "--ask", "Why?"), 1, "Say where it is with --base DIR"),
        ((trained.scan, "--detector", trained.encoder, "--llm-url", "http://127.0.0.1:1/v1", "--ask", "Why?"), 1, "does not answer"),
    ):
        ran = command("chat", *arguments)
        assert ran.status == status, ran.err
        assert said in ran.err


def test_a_published_folder_opens(trained: TrainedChat, command: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "llava-lora"
    shutil.copytree(trained.chat / "adapter", folder)
    weights = Projector(ProjectorConfig(num_queries=4, dim=8, dim_context=64, attention_dim=8, hidden_size=32)).state_dict()
    torch.save(
        {f"base_model.model.model.mm_projector.{name}": tensor for name, tensor in weights.items()}, folder / "non_lora_trainables.bin"
    )
    ran = command(
        "chat", trained.scan, "--model", folder, "--encoder", trained.encoder, "--base", trained.folder / "base" / "model", "--ask", "Why?",
        "--max-tokens", 3,
    )  # fmt: skip
    assert ran.status == 0, ran.err


def test_the_demos_model_is_taken_where_none_is_named(trained: TrainedChat, command: Callable[..., Any]) -> None:
    keep_demo_chat(model=trained.chat, base=trained.folder / "base" / "model", encoder=trained.encoder)
    ran = command("chat", trained.scan, "--ask", "Is lung nodule present?", "--max-tokens", 4)
    assert ran.status == 0, ran.err
    assert "this is the demo's, which knows only phantoms" in ran.err
    assert "Research use only" in ran.err


def test_a_servers_questions_are_checked_and_written_in_the_published_form(
    trained: TrainedChat,
    command: Callable[..., Any],
    language_server: LanguageServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openai_client, "_PAUSE", 0.0)
    language_server.cuts = 2  # an answer that breaks off is asked for again
    pairs = [("Is lung nodule present?", "Yes."), ("Is lung nodule present?", "No.")]
    entries = [{"task": "short_answer", "question": question, "answer": answer} for question, answer in pairs]
    language_server.say = lambda _: (200, json.dumps({"questions": entries}))
    ran = command("vqa", trained.cohort, "--llm-url", language_server.address, "--out", tmp_path / "vqa.json")
    assert ran.status == 0, ran.err
    assert "8 questions contradict their reports and were dropped; 0 reports gave none." in " ".join(ran.err.split())
    made = open_questions(tmp_path / "vqa.json")
    assert [one.pairs[0].answer for one in made] == ["Yes."] * 8
    assert ran.err.count("Research use only") == 1


def test_one_report_that_fails_is_named_and_asked_about_again(
    trained: TrainedChat, command: Callable[..., Any], language_server: LanguageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_client, "_PAUSE", 0.0)
    pair = {"task": "short_answer", "question": "Is lung nodule present?", "answer": "Yes."}
    language_server.say = lambda _: (500 if len(language_server.asked) <= 3 * 4 else 200, json.dumps({"questions": [pair]}))
    ran = command("vqa", trained.cohort, "--llm-url", language_server.address, "--out", tmp_path / "vqa.json")
    assert ran.status == 1, ran.err
    assert "has no questions: answers 500 Internal Server Error" in ran.err
    failed = 8 - len(open_questions(tmp_path / "vqa.json"))
    assert f"{failed} reports failed: the same command asks about them again" in ran.err
    before = len(language_server.asked)
    ran = command("vqa", trained.cohort, "--llm-url", language_server.address, "--out", tmp_path / "vqa.json")
    assert ran.status == 0, ran.err
    assert (len(open_questions(tmp_path / "vqa.json")), len(language_server.asked)) == (8, before + failed)

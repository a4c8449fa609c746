"""From a cohort to answers: questions, the three stages of a small chat model, and a conversation with it, by the commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.cli.chat_training import TrainedChat
from tests.language_server import LanguageServer
from thoracle.cohort.manifest import open_cohort
from thoracle.cohort.vqa.vqa_file import read_vqa
from thoracle.config_reader import config_from_mapping, config_to_mapping
from thoracle.errors import InputError
from thoracle.inference.chat.conversation import Conversation
from thoracle.inference.chat.scan_question_rule import REFUSAL
from thoracle.inference.chat.scan_tokens import scan_tokens
from thoracle.inference.chat.session import load_chat
from thoracle.inference.demo.locations import keep_demo_chat
from thoracle.inference.llm.decoding import SamplingOptions, stop_at
from thoracle.inference.prepare import PreparedVolume
from thoracle.models.bundle.model_folder import open_model
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector
from thoracle.training.chat.run import chat_run, finding_targets, split_questions
from thoracle.training.chat.scan_features import encode_cohort_scans
from thoracle.training.chat.task import ChatConfig
from thoracle.training.engine.config import load_config
from thoracle.training.engine.distributed import distributed_context


@pytest.fixture
def scan(trained: TrainedChat) -> PreparedVolume:
    size = open_model(trained.encoder).preprocess.size  # type: ignore[union-attr]
    return PreparedVolume(array=np.random.default_rng(1).normal(-0.5, 0.1, size).astype(np.float32), provenance=None, warnings=())


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))


def test_an_answer_streams_repeats_with_its_seed_and_joins_the_conversation(trained: TrainedChat, scan: PreparedVolume) -> None:
    chat = load_chat(trained.chat)
    codes = scan_tokens(chat.encoder, scan)
    drawn = SamplingOptions(max_tokens=12, temperature=1.0, seed=3)

    def said(sampling: SamplingOptions, turns: int = 1) -> list[str]:
        talk = Conversation(scans=(codes,))
        for _ in range(turns):
            pieces = list(chat.answer(talk, "Is lung nodule present?", task="short_answer", sampling=sampling))
        assert len(talk.turns) == turns
        assert talk.turns[-1].answer == "".join(pieces).strip()
        return pieces

    assert said(drawn) == said(drawn) != said(SamplingOptions(max_tokens=12, temperature=1.0, seed=4))
    kept = said(drawn, turns=3)  # what was read for the turns before is not read again
    fresh = load_chat(trained.chat)
    talk = Conversation(scans=(codes,))
    for _ in range(3):
        fresh._kept = None
        last = list(fresh.answer(talk, "Is lung nodule present?", task="short_answer", sampling=drawn))
    assert kept == last


def test_a_conversation_longer_than_the_model_reads_is_said_and_kept(trained: TrainedChat, scan: PreparedVolume) -> None:
    chat = load_chat(trained.chat)
    talk = Conversation(scans=(scan_tokens(chat.encoder, scan),))
    list(chat.answer(talk, "Is there a nodule?", sampling=SamplingOptions(max_tokens=3)))
    with pytest.raises(InputError, match=r"tokens and an answer up to 5,000, the language model reads 1,024"):
        list(chat.answer(talk, "And now?", sampling=SamplingOptions(max_tokens=5000)))
    assert len(talk.turns) == 1


def test_codes_are_computed_once_for_a_scan(trained: TrainedChat, scan: PreparedVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_chat(trained.chat).encoder
    first = scan_tokens(encoder, scan)
    monkeypatch.setattr(encoder, "encode_tokens", lambda _: pytest.fail("encoded again"))
    assert (scan_tokens(encoder, scan) == first).all()


@pytest.mark.parametrize(
    ("question", "declined"),
    [
        ("Is there a pleural effusion?", True),
        ("Describe this scan.", True),
        ("Which side is the effusion on?", True),
        ("Write the radiology report.", True),
        ("What is emphysema?", False),
        ("How is a pleural effusion treated?", False),
        ("What causes bronchiectasis?", False),
    ],
)
def test_without_a_scan_only_general_questions_reach_the_model(question: str, declined: bool, trained: TrainedChat) -> None:
    talk = Conversation()
    answer = "".join(load_chat(trained.chat).answer(talk, question, sampling=SamplingOptions(max_tokens=4)))
    assert (answer == REFUSAL) == declined
    assert len(talk.turns) == 1


def test_an_answer_ends_at_a_stop_that_comes_in_parts() -> None:
    assert "".join(stop_at(iter(["One. E", "N", "D two"]), ["END"])) == "One. "
    assert "".join(stop_at(iter(["One. E", "N", "J"]), ["END"])) == "One. ENJ"


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
    trained: TrainedChat, command: Callable[..., Any], language_server: LanguageServer, tmp_path: Path
) -> None:
    pairs = [("Is lung nodule present?", "Yes."), ("Is lung nodule present?", "No.")]
    entries = [{"task": "short_answer", "question": question, "answer": answer} for question, answer in pairs]
    language_server.say = lambda _: (200, json.dumps({"questions": entries}))
    ran = command("vqa", trained.cohort, "--llm-url", language_server.address, "--out", tmp_path / "vqa.json")
    assert ran.status == 0, ran.err
    assert "6 questions contradict their reports and were dropped; 0 reports gave none." in " ".join(ran.err.split())
    made = read_vqa(tmp_path / "vqa.json")
    assert [one.pairs[0].answer for one in made] == ["Yes."] * 6
    assert ran.err.count("Research use only") == 1


@pytest.mark.parametrize("stage", ["base", "projector", "lora"])
def test_a_stage_that_was_stopped_and_resumed_ends_bit_equal(stage: str, trained: TrainedChat, tmp_path: Path) -> None:
    folder, prepared = trained.folder, open_cohort(trained.cohort)
    asked, _ = split_questions(read_vqa(folder / "vqa.json"), prepared)
    told = config_to_mapping(load_config(folder / "config.yaml", ChatConfig)) | {
        "stage": stage,
        "encoder": str(trained.encoder),
        "language_model": str(folder / "base" / "model"),
        "init_from": str(folder / "projector" / "model") if stage == "lora" else "",
        "steps": 4,
        "save_every": 1,
        "eval_every": 0,
    }

    def train(out: Path, *, steps: int, resume: bool = False) -> None:
        with distributed_context() as world:
            seen = {name for one in asked for name in one.images}
            scans = None if stage == "base" else encode_cohort_scans(prepared, seen, world, encoder=trained.encoder)
            config = config_from_mapping(ChatConfig, told | {"out": str(out)})
            run = chat_run(config, asked, world, findings=finding_targets(prepared), scans=scans, resume=resume)
            for _ in islice(run.run(), steps):
                pass

    train(tmp_path / "once", steps=5)
    train(tmp_path / "twice", steps=2)
    train(tmp_path / "twice", steps=5, resume=True)
    once, twice = ({file.relative_to(out): file.read_bytes() for file in _weights(out)} for out in (tmp_path / "once", tmp_path / "twice"))
    assert once == twice
    assert len(once) == (2 if stage == "lora" else 1)


def _weights(out: Path) -> list[Path]:
    return sorted((out / "model").rglob("*.safetensors"))

"""From a cohort to answers: questions, the three stages of a small chat model, and a conversation with it, by the commands."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from tests.language_server import LanguageServer
from thoracle.cli.app import main
from thoracle.cohort.manifest import CohortEntry, claim, write_manifest
from thoracle.cohort.reports import Report
from thoracle.cohort.samples.volume_cache import pack
from thoracle.cohort.vqa.vqa_file import read_vqa
from thoracle.config_reader import config_to_mapping
from thoracle.errors import InputError
from thoracle.inference.chat.conversation import Conversation
from thoracle.inference.chat.scan_question_rule import REFUSAL
from thoracle.inference.chat.scan_tokens import scan_tokens
from thoracle.inference.chat.session import load_chat
from thoracle.inference.demo.assets import write_model, write_scan
from thoracle.inference.demo.locations import keep_demo_chat
from thoracle.inference.llm.decoding import SamplingOptions, stop_at
from thoracle.inference.prepare import PreparedVolume
from thoracle.models.bundle.model_folder import open_model
from thoracle.models.ctchat.config import ProjectorConfig
from thoracle.models.ctchat.projector import Projector

CONFIG = {
    "disclaimer": "Knows only noise.",
    "language_model": "set below",
    "projector": {"num_queries": 4, "dim": 8, "attention_dim": 8, "heads": 8, "num_positions": 216, "num_findings": 18},
    "phantom_lm": {"vocab_size": 600, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2},
    "adapter": {"rank": 4, "alpha": 8},
    "sequence_length": 512,
    "steps": 3,
    "batch_size": 1,
    "num_workers": 0,
    "loss_weight": "sqrt_length",
    "eval_every": 3,
    "num_eval_conversations": 8,
    "optimizer": {"lr": 1.0e-3, "max_grad_norm": 1.0},
}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Where everything lies."""

    folder: Path
    cohort: Path
    encoder: Path
    scan: Path

    @property
    def chat(self) -> Path:
        return self.folder / "lora" / "model"


def run(*arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["thoracle", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code in (None, 0), arguments


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("chat")
    encoder = write_model(folder / "encoder").path
    preprocess = open_model(encoder).preprocess
    assert preprocess is not None
    cohort, rng, entries = folder / "cohort", np.random.default_rng(0), []
    claim(cohort, {"preprocess": config_to_mapping(preprocess)})
    for k in range(6):
        labels = tuple((k + number) % 2 for number in range(18))
        volume = rng.normal(-0.5, 0.1, preprocess.size).astype(np.float32)
        content = pack(volume, scale=preprocess.intensity_scale)
        (cohort / "cache").mkdir(exist_ok=True)
        (cohort / "cache" / f"{k}.vol").write_bytes(content)
        ids: dict[str, Any] = {"volume": f"v{k}.nii.gz", "scan": f"s{k}", "patient": f"p{k // 2}", "split": "valid" if k > 3 else "train"}
        hashes = {"source_sha256": "0" * 64, "cache": f"cache/{k}.vol", "cache_sha256": f"{k}" * 64}
        entries.append(CohortEntry(**ids, **hashes, report=Report(findings="Lung nodule is present, 8 mm."), labels=labels))
    write_manifest(cohort, entries)
    run("vqa", cohort, "--out", folder / "vqa.json")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    shared = ("--config", folder / "config.yaml", "--cohort", cohort, "--questions", folder / "vqa.json", "--encoder", encoder)
    base = ("--base", folder / "base" / "model")
    run("train", "chat", *shared, "--stage", "base", "--out", folder / "base")
    run("train", "chat", *shared, *base, "--stage", "projector", "--out", folder / "projector")
    run("train", "chat", *shared, *base, "--stage", "lora", "--start", folder / "projector" / "model", "--out", folder / "lora")
    return Trained(folder=folder, cohort=cohort, encoder=encoder, scan=write_scan(folder / "chest.nii.gz"))


@pytest.fixture
def scan(trained: Trained) -> PreparedVolume:
    size = open_model(trained.encoder).preprocess.size  # type: ignore[union-attr]
    return PreparedVolume(array=np.random.default_rng(1).normal(-0.5, 0.1, size).astype(np.float32), provenance=None, warnings=())


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))


def test_a_stage_leaves_a_folder_that_knows_its_parts_and_its_caution(trained: Trained) -> None:
    about = json.loads((trained.chat / "chat.json").read_text())
    assert (about["adapter"], about["caution"]) == (True, "Knows only noise.")
    assert not Path(about["base"]).is_absolute()
    assert "Research use only" in (trained.chat / "README.md").read_text()
    assert not (trained.folder / "projector" / "model" / "adapter").exists()
    assert len(list(trained.cohort.glob("codes-*/*"))) == 6


def test_an_answer_streams_repeats_with_its_seed_and_joins_the_conversation(trained: Trained, scan: PreparedVolume) -> None:
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


def test_a_conversation_longer_than_the_model_reads_is_said_and_kept(trained: Trained, scan: PreparedVolume) -> None:
    chat = load_chat(trained.chat)
    talk = Conversation(scans=(scan_tokens(chat.encoder, scan),))
    list(chat.answer(talk, "Is there a nodule?", sampling=SamplingOptions(max_tokens=3)))
    with pytest.raises(InputError, match=r"tokens and an answer up to 5,000, the language model reads 1,024"):
        list(chat.answer(talk, "And now?", sampling=SamplingOptions(max_tokens=5000)))
    assert len(talk.turns) == 1


def test_codes_are_computed_once_for_a_scan(trained: Trained, scan: PreparedVolume, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_without_a_scan_only_general_questions_reach_the_model(question: str, declined: bool, trained: Trained) -> None:
    talk = Conversation()
    answer = "".join(load_chat(trained.chat).answer(talk, question, sampling=SamplingOptions(max_tokens=4)))
    assert (answer == REFUSAL) == declined
    assert len(talk.turns) == 1


def test_an_answer_ends_at_a_stop_that_comes_in_parts() -> None:
    assert "".join(stop_at(iter(["One. E", "N", "D two"]), ["END"])) == "One. "
    assert "".join(stop_at(iter(["One. E", "N", "J"]), ["END"])) == "One. ENJ"


def test_the_command_answers_keeps_what_was_said_and_says_what_it_is(trained: Trained, command: Callable[..., Any], tmp_path: Path) -> None:
    keep = tmp_path / "talk.json"
    ran = command(
        "chat", trained.scan, "--model", trained.chat, "--ask", "Is lung nodule present?", "--max-tokens", 4, "--conversation", keep
    )
    assert ran.status == 0, ran.err
    assert "Research use only" in ran.err
    assert "Knows only noise." in ran.err
    command("chat", "--model", trained.chat, "--ask", "Is there an effusion?", "--conversation", keep)
    assert [turn["question"] for turn in json.loads(keep.read_text())["turns"]] == ["Is lung nodule present?", "Is there an effusion?"]


def test_what_is_missing_or_elsewhere_is_said(trained: Trained, command: Callable[..., Any], tmp_path: Path) -> None:
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


def test_a_published_folder_opens(trained: Trained, command: Callable[..., Any], tmp_path: Path) -> None:
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


def test_answers_are_measured_beside_those_of_a_model_that_does_not_see(
    trained: Trained, command: Callable[..., Any], tmp_path: Path
) -> None:
    told = (
        "--questions",
        trained.folder / "vqa.json",
        "--out",
        tmp_path,
        "--limit",
        12,
        "--reports",
        1,
        "--max-tokens",
        4,
        "--resamples",
        20,
    )
    ran = command("evaluate", "chat", trained.chat, trained.cohort, *told)
    assert ran.status == 0, ran.err
    assert "without it" in ran.out
    assert "Research use only" in ran.out
    values = json.loads((tmp_path / "chat.json").read_text())
    assert values["with the scan"].keys() == values["without the scan"].keys()
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert len(answers) == values["questions"] == 12 + 1
    assert sum("report" in answer["question"].lower() for answer in answers) == 1


def test_the_demos_model_is_taken_where_none_is_named(trained: Trained, command: Callable[..., Any]) -> None:
    keep_demo_chat(model=trained.chat, base=trained.folder / "base" / "model", encoder=trained.encoder)
    ran = command("chat", trained.scan, "--ask", "Is lung nodule present?", "--max-tokens", 4)
    assert ran.status == 0, ran.err
    assert "this is the demo's, which knows only phantoms" in ran.err
    assert "Research use only" in ran.err


def test_a_servers_questions_are_checked_and_written_in_the_published_form(
    trained: Trained, command: Callable[..., Any], language_server: LanguageServer, tmp_path: Path
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

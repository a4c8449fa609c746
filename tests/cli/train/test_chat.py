"""`thoracle train chat`: what each stage leaves and shows, what a second run does, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.chat_training import TrainedChat
from thoracle.cohort.vqa.question_file import open_questions
from thoracle.cohort.vqa.vqa_file import write_questions


@pytest.fixture
def asked(trained: TrainedChat) -> tuple[Any, ...]:
    """The command of a stage that a test names, of one step."""
    return (
        *("train", "chat", "--config", trained.folder / "config.yaml", "--cohort", trained.cohort, "--questions"),
        *(trained.folder / "vqa.json", "--encoder", trained.encoder, "--set", "steps=1"),
    )


def test_a_stage_leaves_a_folder_that_knows_its_parts_and_its_caution(trained: TrainedChat) -> None:
    about = json.loads((trained.chat / "chat.json").read_text())
    assert (about["adapter"], about["caution"]) == (True, "Knows only noise.")
    assert not Path(about["base"]).is_absolute()
    assert "Research use only. Not a medical device." in (trained.chat / "README.md").read_text()
    assert not (trained.folder / "projector" / "model" / "adapter").exists()
    assert len(list(trained.cohort.glob("codes-*/*"))) == 6


def test_stage_base_reads_no_scan_and_shows_the_loss_of_held_out_questions(command, asked: tuple[Any, ...], tmp_path: Path) -> None:
    run = (*asked, "--stage", "base", "--encoder", tmp_path / "nowhere", "--out")
    ran = command(*run, tmp_path / "run", "--set", "eval_every=1")
    assert ran.status == 0, ran.err
    assert "step 1: minus_loss -" in ran.err
    assert "held_out_loss " in ran.err
    assert "1 steps done" in ran.err
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    ran = command(*run, tmp_path / "silent", "--set", "eval_every=0")
    assert (ran.status, "held_out_loss" in ran.err) == (0, False), ran.err


def test_a_second_run_is_refused_or_resumed(command, trained: TrainedChat, asked: tuple[Any, ...], tmp_path: Path) -> None:
    run = shutil.copytree(trained.folder / "projector", tmp_path / "run")
    again = (*asked[:-2], "--stage", "projector", "--base", trained.folder / "base" / "model", "--out", run)
    ran = command(*again)
    assert (ran.status, "OutputConflict" in ran.err) == (1, True), ran.err
    ran = command(*again, "--resume")
    assert (ran.status, "3 steps done" in ran.err) == (0, True), ran.err
    before, after = (
        {file.relative_to(out): file.read_bytes() for file in (out / "model").rglob("*.safetensors")}
        for out in (trained.folder / "projector", run)
    )
    assert before == after != {}
    ran = command(*again, "--resume", "--set", "optimizer.lr=1e-4")
    assert (ran.status, "optimizer" in ran.err) == (2, True), ran.err


@pytest.mark.parametrize("stage", ["projector", "lora"])
def test_a_dry_run_plans_a_stage_and_makes_nothing(
    command, stage: str, trained: TrainedChat, asked: tuple[Any, ...], tmp_path: Path
) -> None:
    start = ("--start", trained.folder / "projector" / "model") if stage == "lora" else ()
    run = (*asked, "--stage", stage, "--base", trained.folder / "base" / "model", *start, "--out", tmp_path / "run", "--dry-run")
    before = sorted(trained.cohort.rglob("*"))
    ran = command(*run)
    assert ran.status == 0, ran.err
    for part in ("parameters", "device, a rank", "host, first rank", "host, a node", "disk", "steps an epoch", "samples a second"):
        assert part in ran.out
    assert "the run has 1" in ran.out
    assert not (tmp_path / "run").exists()
    assert sorted(trained.cohort.rglob("*")) == before


def test_a_dry_run_of_the_stage_for_phantoms_is_refused(command, asked: tuple[Any, ...], tmp_path: Path) -> None:
    ran = command(*asked, "--stage", "base", "--out", tmp_path / "run", "--dry-run")
    assert (ran.status, "Give --stage projector or lora." in ran.err) == (1, True), ran.err


def test_what_cannot_be_trained_on_is_refused(command, trained: TrainedChat, asked: tuple[Any, ...], tmp_path: Path) -> None:
    held_out = [asking for asking in open_questions(trained.folder / "vqa.json") if set(asking.images) <= {"v4.nii.gz", "v5.nii.gz"}]
    write_questions(tmp_path / "held-out.json", held_out)
    base = trained.folder / "base" / "model"
    for arguments, status, words in (
        (("--stage", "nonsense"), 2, "nonsense"),
        (("--stage", "projector", "--set", "language_model=''"), 2, "stage projector needs a language model"),
        (("--stage", "base", "--questions", tmp_path / "none.json"), 2, "Make one with `thoracle vqa COHORT --out vqa.json`."),
        (("--stage", "base", "--questions", tmp_path / "held-out.json"), 2, "no question is about a scan of the split train"),
        (("--stage", "projector", "--base", base, "--encoder", tmp_path / "nowhere"), 1, "ModelFolderInvalid"),
        (("--stage", "lora", "--base", base, "--start", tmp_path / "nowhere"), 1, "is no chat folder"),
    ):
        ran = command(*asked, "--out", tmp_path / "run", *arguments)
        assert (ran.status, words in ran.err) == (status, True), ran.err
    assert not (tmp_path / "run" / "model").exists()

"""What a run will need is printed, and nothing is made."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from thoracle.cli.train import dry_run
from thoracle.cli.train.dry_run import describe, ranks, warnings
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.engine.config import load_config, write_config
from thoracle.training.engine.plan import RunPlan

CONFIG = Path(__file__).parents[3] / "configs" / "phantom-tiny.yaml"
GIB = 2**30
PLAN = RunPlan(
    parameters=1000, trained=800, device={"weights": 2 * GIB, "batch": 3 * GIB}, shared=4 * GIB, buffers=5 * GIB, saving=5 * GIB, held=GIB,
    checkpoint=7 * GIB, checkpoints=5, cache=8 * GIB, samples=90, steps_per_epoch=9, flops=10**12, reads=1, ranks=8, local_ranks=4,
)  # fmt: skip


def test_a_dry_run_prints_and_makes_nothing(command, cohort: Path, tmp_path: Path) -> None:
    config = replace(load_config(CONFIG, ContrastiveConfig), init_text_encoder="", section="findings", batch_size=2, steps=3)
    write_config(config, tmp_path / "short.yaml")
    told = ("train", "contrastive", "--config", tmp_path / "short.yaml", "--cohort", cohort, "--out", tmp_path / "run")
    ran = command(*told, "--dry-run")
    assert ran.status == 0, ran.err
    assert "steps an epoch 2 of 4 samples on 1 ranks; the run has 3" in ran.out
    assert "are trained" in ran.out
    assert not (tmp_path / "run").exists()
    assert command(*told, "--set", "monitor=loss", "--dry-run").status == 2


@pytest.mark.parametrize(
    ("task", "config", "trained"),
    [("vocabfine", "phantom-tiny-vocabfine", "of 4 samples"), ("classifier", "phantom-tiny-labels", "of 4 samples")],
)
def test_what_goes_on_from_a_model_is_planned_from_its_folder(
    task: str, config: str, trained: str, command, cohort: Path, start: Path, tmp_path: Path
) -> None:
    told = ("train", task, "--config", config, "--start", start, "--cohort", cohort, "--out", tmp_path / "run", "--set", "batch_size=1")
    ran = command(*told, "--dry-run")
    assert ran.status == 0, ran.err
    assert trained in ran.out
    assert "are trained" in ran.out
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "latents").exists()
    ran = command(*told, "--start", cohort, "--dry-run")
    assert (ran.status, "ModelFolderInvalid" in ran.err) == (1, True), ran.err


def test_random_weights_are_planned_from_sizes(command, cohort: Path, tmp_path: Path) -> None:
    told = ("train", "classifier", "--config", "phantom-tiny-supervised", "--cohort", cohort, "--out", tmp_path / "run")
    ran = command(*told, "--set", "batch_size=1", "--dry-run")
    assert ran.status == 0, ran.err
    assert "steps an epoch 4 of 4 samples on 1 ranks; the run has 600" in " ".join(ran.out.split())
    assert not (tmp_path / "run").exists()


def test_a_labelers_reports_are_counted(command, cohort: Path, tmp_path: Path) -> None:
    told = ("train", "labeler", "--config", "phantom-tiny-labeler", "--cohort", cohort, "--out", tmp_path / "run")
    ran = command(*told, "--set", "section=findings", "--dry-run")
    assert ran.status == 0, ran.err
    assert "of 904 samples on 1 ranks" in ran.out  # 4 reports, and 25 times 36 prompts
    assert not (tmp_path / "run").exists()
    (tmp_path / "none.csv").write_text("volume\nelsewhere\n")
    ran = command(*("train", "labeler", "--config", "labeler-tiny", "--only", tmp_path / "none.csv", "--dry-run"))
    assert (ran.status, "--only takes volumes of a prepared cohort" in ran.err) == (2, True)


def test_each_part_has_its_line() -> None:
    lines = list(describe(ContrastiveConfig(out="run", precision="bf16", steps=70), PLAN))
    assert lines[0] == "parameters        1,000, of which 800 are trained"
    assert lines[1] == "device, a rank    5.00 GiB: weights 2.00 GiB, batch 3.00 GiB"
    assert lines[2] == "host, first rank  15.00 GiB: /dev/shm 4.00 GiB, read ahead 5.00 GiB, saving 5.00 GiB, samples 1.00 GiB"
    assert lines[3] == "host, a node      45.00 GiB, /dev/shm 16.00 GiB (4 ranks)"
    assert lines[4] == "disk              cache 8.00 GiB, checkpoints 35.00 GiB (5 of 7.00 GiB)"
    assert lines[5] == "steps an epoch    9 of 90 samples on 8 ranks; the run has 70"
    assert lines[6] == "samples a second  125 a rank, for an A100 at 40% of its peak in bf16"  # 0.4 x 312e12 / 1e12
    again = list(describe(ContrastiveConfig(precision="bf16", steps=70), replace(PLAN, reads=2)))
    assert again[6] == "samples a second  125 a rank, each read twice, for an A100 at 40% of its peak in bf16"


def test_epochs_are_said_in_steps() -> None:
    lines = list(describe(ContrastiveConfig(out="run", epochs=20), PLAN))
    assert lines[5] == "steps an epoch    9 of 90 samples on 8 ranks; the run has 180"


Memory = namedtuple("Memory", "available")
Disk = namedtuple("Disk", "free")


@pytest.mark.parametrize(
    ("host", "disk", "expected"),
    [
        (200, 200, []),
        (64, 200, ["the host"]),
        (200, 34, ["the disk of"]),
        (10, 10, ["the host", "/dev/shm", "the disk of"]),
    ],
)
def test_it_warns_where_the_machine_has_less(
    host: int, disk: int, expected: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a GPU the device's 5 GiB a rank are the host's too: 4 x 15 GiB and 5 to save; checkpoints take 35 GiB, /dev/shm 16."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(host * GIB))
    monkeypatch.setattr(dry_run.shutil, "disk_usage", lambda _: Disk(disk * GIB))
    lines = list(warnings(ContrastiveConfig(out=str(tmp_path / "not" / "yet")), PLAN))
    assert [line.split(" has ")[0].removeprefix("WARNING: ").split(str(tmp_path))[0].strip() for line in lines] == expected


def test_ranks_are_torchruns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert ranks() == (8, 4)
    monkeypatch.setenv("RANK", "1")
    dry_run.print_plan(ContrastiveConfig(), PLAN)
    assert capsys.readouterr().out == ""

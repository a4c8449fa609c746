from __future__ import annotations

import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from thoracle.ct.recipes.published import COLIPRI
from thoracle.files.visible import wait_until_visible
from thoracle.inference.demo.assets import write_scan
from thoracle.models.bundle.model_folder import load_state_dict, open_model, save_model
from thoracle.models.colipri.config import ColipriConfig
from thoracle.models.colipri.model import Colipri
from thoracle.models.common.prompts import format_prompts
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.engine.checkpoints import checkpoints
from thoracle.training.engine.config import load_config, load_run_config, write_config
from thoracle.types import ABNORMALITIES

CONFIG = Path(__file__).parents[3] / "configs" / "phantom-tiny.yaml"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The demo's, but short."""
    short = replace(load_config(CONFIG, ContrastiveConfig), section="findings", steps=3, batch_size=2, save_every=1, eval_every=2)
    write_config(replace(short, init_text_encoder=""), tmp_path / "short.yaml")
    return tmp_path / "short.yaml"


def test_a_cohort_becomes_a_model_that_detects(command, cohort: Path, config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ran = command("train", "contrastive", "--config", config, "--cohort", cohort, "--out", run)
    assert ran.status == 0, ran.err
    assert "step 2: macro_auroc 0." in ran.err
    shown = r"loss \d+\.\d{4} \d+\.\d samples/s waits \d+\.\d s \d+\.\d GiB .* 3/3 \d+:\d\d:\d\d"
    assert re.search(shown, ran.err), "loss, rate, waiting, memory, time left"
    assert "3 steps done" in ran.err
    assert open_model(run / "model", verify=True).trained
    write_scan(tmp_path / "chest.nii.gz")
    ran = command("detect", tmp_path / "chest.nii.gz", "--model", run / "model")
    assert ran.status == 0, ran.err
    assert "UNTRAINED" not in ran.out
    assert command("train", "contrastive", "--config", config, "--cohort", cohort, "--out", run).status == 1
    assert command("train", "contrastive", "--config", config, "--cohort", cohort, "--out", run, "--resume").status == 0


def test_what_makes_no_sense_ends_with_2(command, cohort: Path, config: Path, tmp_path: Path) -> None:
    assert command("train", "contrastive", "--config", tmp_path / "nowhere.yaml").status == 2
    other = load_config(config, ContrastiveConfig)
    other = replace(other, preprocess=replace(other.preprocess, spacing=(5.0, 4.0, 4.0)))
    write_config(other, tmp_path / "other.yaml")
    ran = command("train", "contrastive", "--config", tmp_path / "other.yaml", "--cohort", cohort, "--out", tmp_path / "run")
    assert ran.status == 2
    assert "another preprocessing" in ran.err
    assert not (tmp_path / "run").exists()


def test_a_setting_of_the_command_line_goes_before_the_files(command, cohort: Path, config: Path, tmp_path: Path) -> None:
    asked = ("train", "contrastive", "--config", config, "--cohort", cohort, "--out", tmp_path / "run")
    ran = command(*asked, "--set", "optimizer.lr=one")
    assert (ran.status, "--set: optimizer.lr must be a number above 0, is 'one'" in ran.err) == (2, True)
    ran = command(*asked, "--set", "steps=1", "--set", "optimizer.lr=1e-4", "--set", "eval_every=0")
    assert ran.status == 0, ran.err
    written = load_run_config(tmp_path / "run" / "config.yaml", ContrastiveConfig)
    assert (written.steps, written.optimizer.lr, written.batch_size) == (1, 1e-4, 2)


@pytest.mark.slow
def test_a_schedulers_signal_ends_it_with_99_and_it_goes_on_to_fewer_steps(command, cohort: Path, config: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    asked = ("train", "contrastive", "--config", config, "--cohort", cohort, "--out", run, "--set", "eval_every=0")
    started = subprocess.Popen(
        [sys.executable, "-m", "thoracle", *map(str, asked), "--set", "steps=100000"], stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until_visible([run / "checkpoints" / "step-00000002"])
        started.terminate()
        _, printed = started.communicate(timeout=120)
    finally:
        started.kill()
    assert started.returncode == 99, printed
    done = checkpoints(run / "checkpoints")[-1].step
    assert f"stopped by a signal after step {done} of 100000, which is saved. Go on with --resume." in printed
    ran = command(*asked, "--set", f"steps={done + 1}", "--resume")
    assert ran.status == 0, ran.err
    assert f"steps is {done + 1} now, was 100000" in ran.err
    assert load_run_config(run / "config.yaml", ContrastiveConfig).steps == done + 1


@pytest.mark.slow
def test_two_ranks_are_stopped_and_resumed_bit_equal(cohort: Path, config: Path, tmp_path: Path) -> None:
    """Sharded weights, gradient caching, dropout, a codebook on each rank: all that is unlike on the ranks."""
    told = load_config(config, ContrastiveConfig)
    text = replace(told.model.bert, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    told = replace(
        told,
        model=replace(told.model, bert=text),
        batch_size=2,
        gradient_cache_chunk=1,
        parallelism="fsdp",
        codebook_sync=False,
        keep_checkpoints=3,
        eval_every=0,
    )
    write_config(told, config)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    _torchrun(config, cohort, whole)
    shutil.copytree(whole, stopped, ignore=shutil.ignore_patterns("step-*[23]", "model"))
    _torchrun(config, cohort, stopped, "--resume")
    one, other = (checkpoints(run / "checkpoints")[-1].load() for run in (whole, stopped))
    assert all(torch.equal(tensor, other["weights"][name]) for name, tensor in one["weights"].items())
    for rank, again in zip(one["ranks"], other["ranks"], strict=True):
        assert torch.equal(rank["generators"][0], again["generators"][0])
    assert not torch.equal(one["ranks"][0]["generators"][0], one["ranks"][1]["generators"][0]), "each rank drops its own"
    codes = [rank["own"]["embed"] for rank in one["ranks"]]
    assert not torch.equal(*codes)
    assert all(torch.equal(code, rank["own"]["embed"]) for code, rank in zip(codes, other["ranks"], strict=True))
    assert load_state_dict(open_model(stopped / "model", verify=True))


def _torchrun(config: Path, cohort: Path, out: Path, *more: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)),
        *("-m", "thoracle", "train", "contrastive", "--config", str(config), "--cohort", str(cohort), "--out", str(out), *more),
    ]
    started = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        printed, _ = started.communicate(timeout=400)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        raise
    assert started.returncode == 0, printed


@pytest.mark.slow
@pytest.mark.parametrize("locked", ["none", "image"])
def test_colipris_tiny_member_goes_through_the_demos_recipe(command, locked: str, tmp_path: Path) -> None:
    """Phantoms, a cohort of its recipe, training by the demo's configuration: it fits what it was shown, and detects."""
    recipe = replace(
        COLIPRI, resampling=replace(COLIPRI.resampling, spacing=(16.0, 16.0, 16.0)), fit=replace(COLIPRI.fit, size=(24, 24, 24))
    )
    demo = load_config(CONFIG, ContrastiveConfig)
    sizes = ColipriConfig(input_shape=(24, 24, 24), embed_dim=72, depth=2, heads=4, bert=demo.model.bert, pooler_heads=4)
    torch.manual_seed(0)
    save_model(
        tmp_path / "colipri", kind="colipri", config=sizes, preprocess=recipe, labels=ABNORMALITIES, tensors=Colipri(sizes).state_dict(),
        tokenizer=Tokenizer.from_words(format_prompts()), licence="none", trained=False,
    )  # fmt: skip
    assert command("phantom", "--out", tmp_path / "phantoms", "--num-scans", 24, "--preset", "tiny", "--workers", 1).status == 0
    prepare = ("prepare", tmp_path / "phantoms", "--layout", "ct-rate", "--preprocess", tmp_path / "colipri", "--out", tmp_path / "cohort")
    assert command(*prepare, "--workers", 1).status == 0
    settings = replace(
        demo, preprocess=recipe, init_text_encoder="", init_image_encoder=str(tmp_path / "colipri"), locked=locked, steps=60, batch_size=8,
        save_every=60, eval_every=0, cohort=str(tmp_path / "cohort"), out=str(tmp_path / "run"),
    )  # fmt: skip
    write_config(settings, tmp_path / "colipri.yaml")
    ran = command("train", "contrastive", "--config", tmp_path / "colipri.yaml")
    assert ran.status == 0, ran.err
    losses = [float(loss) for loss in re.findall(r"loss (\d+\.\d{4})", ran.err)]
    assert losses[-1] < math.log(8), "pairs are told apart better than by chance"
    folder = open_model(tmp_path / "run" / "model")
    assert (folder.kind, folder.preprocess) == ("image-text", recipe)
    scan = next((tmp_path / "phantoms").glob("valid/**/*.nii.gz"))
    assert command("detect", scan, "--model", tmp_path / "run" / "model").status == 0

"""What README and docs tell a person to type is typed here: each `$ thoracle` line and each Python block, in a folder like theirs."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import runpy
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from thoracle.cli.app import main
from thoracle.inference.demo.assets import write_model, write_scan
from thoracle.inference.export.onnx import onnx_model
from thoracle.inference.model import load
from thoracle.phantom.cohort import write_cohort

ROOT = Path(__file__).parents[1]
PAGES = sorted(p.relative_to(ROOT) for p in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
#: Its processes begin where these are imported; it computes nothing itself, so that no thread is lost at a fork.
_TERMINAL = multiprocessing.get_context("forkserver")
_TERMINAL.set_forkserver_preload(["thoracle.inference.model", "thoracle.cli.app", "transformers"])
_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def desk(data_dir: Path, golden_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages speak of: scans, a series, a CT-RATE file with its table, a model, a published file, a tokenizer."""
    desk = tmp_path_factory.mktemp("desk")
    model = write_model(desk / "model").path
    torch.save(load_file(model / "model.safetensors"), desk / "CT-CLIP_v2.pt")
    (desk / "cxr-bert").mkdir()
    shutil.copy(next(model.rglob("vocab.txt")), desk / "cxr-bert")
    write_scan(desk / "chest.nii.gz")
    write_scan(desk / "scans" / "one.nii.gz")
    shutil.copytree(data_dir / "dicom" / "cip_ct64", desk / "scans" / "two")
    shutil.copytree(data_dir / "dicom" / "cip_ct64", desk / "series")
    (desk / "model.onnx").write_bytes(onnx_model(load(model, device="cpu")))
    shutil.copy(golden_dir / "preprocess" / "ctrate_v1_raw.nii.gz", desk / "train_1_a_1.nii.gz")
    row = json.loads((golden_dir / "preprocess" / "ctrate_v1_raw.json").read_text())
    columns = ("RescaleSlope", "RescaleIntercept", "XYSpacing", "ZSpacing")
    cells = ",".join(f'"{row[column]}"' for column in columns)
    (desk / "train_metadata.csv").write_text(f"VolumeName,{','.join(columns)}\ntrain_1_a_1.nii.gz,{cells}\n")
    write_scan(desk / "CT-RATE" / "dataset" / "train" / "train_1" / "train_1_a" / "train_1_a_1.nii.gz")
    reports = "VolumeName,Findings_EN,Impressions_EN\ntrain_1_a_1.nii.gz,Aorta (normal).,Not given.\n"
    (desk / "CT-RATE" / "dataset" / "train_reports.csv").write_text(reports)
    write_demo(desk / "demo")
    kernels = 'VolumeName,XYSpacing,ZSpacing,ConvolutionKernel\ntrain_1_a_1.nii.gz,"[3.0, 3.0]",4.0,Br40f\n'
    (desk / "CT-RATE" / "dataset" / "train_metadata.csv").write_text(kernels)
    return desk


def write_demo(demo: Path) -> None:
    """Write what the pages read of `thoracle demo`: phantoms, a cohort of them, and a model that was trained on them for a step."""
    config, out = ROOT / "configs" / "phantom-tiny.yaml", demo / "contrastive"
    write_cohort(demo / "phantoms", cases=22, seed=0, workers=1)
    _thoracle("prepare", demo / "phantoms", "--layout", "ct-rate", "--preprocess", config, "--out", demo / "cohort")
    short = ["steps=1", "batch_size=2", 'init_text_encoder=""', "optimizer.warmup_steps=0"]
    changes = [part for change in short for part in ("--set", change)]
    _thoracle("train", "contrastive", "--config", config, "--cohort", demo / "cohort", "--out", out, *changes)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_what_a_page_says_to_type_works(page: Path, desk: Path) -> None:
    for kind, text in _BLOCK.findall((ROOT / page).read_text()):
        if kind == "python":
            _typed(_python, text, folder=desk)
        else:
            for line in re.findall(r"^\$ thoracle (.*)$", text, re.MULTILINE):
                _thoracle(*shlex.split(line), folder=desk)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_file_a_page_points_at_exists(page: Path) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target
    for name in re.findall(r"`((?:docs|src|tests|bench|configs)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name


def _thoracle(*arguments: object, folder: Path = ROOT) -> None:
    _typed(_command, [str(argument) for argument in arguments], folder=folder)


def _typed(run: Callable[[Any], None], typed: Any, *, folder: Path) -> None:
    """Run what is typed in a process of its own, forked from one that has imported what takes seconds to import."""
    with tempfile.NamedTemporaryFile() as printed:
        process = _TERMINAL.Process(target=_in_folder, args=(run, typed, folder, printed.name))
        process.start()
        process.join(timeout=300)
        if process.exitcode is None:
            process.kill()
        assert process.exitcode == 0, f"{typed}\n{Path(printed.name).read_text()}"


def _in_folder(run: Callable[[Any], None], typed: Any, folder: Path, printed: str) -> None:
    with open(printed, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    run(typed)


def _command(arguments: list[str]) -> None:
    sys.argv = ["thoracle", *arguments]
    main()


def _python(text: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(text)
        file.flush()
        runpy.run_path(file.name, run_name="__main__")


def test_the_index_of_decisions_lists_each_by_its_title() -> None:
    folder = ROOT / "docs" / "decisions"
    titles = {path.name: path.read_text().split("\n", 1)[0].removeprefix("# ").split(": ", 1) for path in sorted(folder.glob("0*.md"))}
    lines = [line for line in (folder / "README.md").read_text().splitlines() if line.startswith("- ")]
    assert lines == [f"- [{number}]({name}): {title}" for name, (number, title) in titles.items()]

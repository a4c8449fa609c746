from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thoracle.types import ABNORMALITIES, RESEARCH_USE

Command = Callable[..., Any]
WORDINGS = Path(__file__).parents[3] / "configs" / "prompts" / "chest-ct.yaml"


def test_each_wording_is_scored(command: Command, model_dir: Path, noise: Path, tmp_path: Path) -> None:
    out = tmp_path / "prompts"
    ran = command("evaluate", "prompts", model_dir, noise, "--templates", WORDINGS, "--out", out, "--resamples", 20)
    assert ran.status == 0, ran.err
    assert "published zero-shot" in ran.out
    assert "AUROC moves with the wording of single templates by" in ran.out
    assert RESEARCH_USE in ran.out
    values = json.loads((out / "prompts.json").read_text())
    assert set(values["macro"]) == {*values["templates"], *values["ensembles"]}
    assert set(values["spread"]) == set(ABNORMALITIES)
    assert RESEARCH_USE in (out / "prompts.html").read_text()
    run = command("evaluate", "detection", model_dir, noise, "--protocol", "ct-rate", "--out", tmp_path / "run", "--resamples", 20)
    assert run.status == 0
    scored = json.loads((tmp_path / "run" / "results.json").read_text())["labels"]
    own = {label: one["value"] for label, one in values["by_label"]["published zero-shot"].items()}
    for label in ABNORMALITIES:  # the same prompts of the same model; probabilities of float32 tie more often than margins
        assert own[label] == pytest.approx(scored[label]["own"]["auroc"]["value"], abs=0.02)


def test_a_file_that_is_not_there_is_said(command: Command, model_dir: Path, noise: Path, tmp_path: Path) -> None:
    ran = command("evaluate", "prompts", model_dir, noise, "--templates", tmp_path / "no.yaml", "--out", tmp_path / "prompts")
    assert (ran.status, "no such file" in ran.err) == (2, True)

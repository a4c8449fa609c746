from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from thoracle.inference.latents import read_latents
from thoracle.types import RESEARCH_USE

Command = Callable[..., Any]


def test_one_command_draws_and_measures(command: Command, model_dir: Path, noise: Path, tmp_path: Path) -> None:
    out = tmp_path / "space"
    ran = command("evaluate", "space", model_dir, noise, "--out", out)
    assert ran.status == 0, ran.err
    values = json.loads((out / "space.json").read_text())
    assert values["notice"] == RESEARCH_USE
    assert values["scans"] == 16  # one volume of each scan
    assert 0 <= values["alignment"] <= 4
    assert len(values["silhouette"]) == 18
    assert {path.name for path in out.glob("*.png")} == {f"{m}-{w}.png" for m in ("tsne", "pca") for w in ("number", "labels")}
    assert RESEARCH_USE in (out / "space.html").read_text()
    assert "UNTRAINED WEIGHTS" in ran.out
    latents = read_latents(out / "latents.parquet")
    np.testing.assert_allclose(np.linalg.norm(latents.array, axis=1), 1, atol=1e-5)


def test_a_split_without_reports_is_refused(command: Command, model_dir: Path, noise: Path, tmp_path: Path) -> None:
    ran = command("evaluate", "space", model_dir, noise, "--out", tmp_path / "space", "--section", "impression")
    assert (ran.status, "no scan of split valid has a report (impression)" in ran.err) == (2, True)

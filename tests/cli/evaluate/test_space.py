from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thoracle.cohort.manifest import open_cohort
from thoracle.evaluation.predict import first_volume_per_scan
from thoracle.inference.latents import read_latents
from thoracle.inference.model import load
from thoracle.models.citations import CT_CLIP
from thoracle.types import ABNORMALITIES, RESEARCH_USE

Command = Callable[..., Any]


def test_one_command_draws_and_measures(command: Command, model_dir: Path, noise: Path, tmp_path: Path) -> None:
    out = tmp_path / "space"
    ran = command("evaluate", "space", model_dir, noise, "--out", out)
    assert ran.status == 0, ran.err
    values = json.loads((out / "space.json").read_text())
    assert values["notice"] == RESEARCH_USE
    assert values["scans"] == 16  # one volume of each scan
    assert 0 <= values["alignment"]["low"] <= values["alignment"]["value"] <= values["alignment"]["high"] <= 4
    assert values["temperature"] == pytest.approx(load(model_dir).temperature)
    assert f"times its exponential, {math.exp(values['temperature']):.2f}" in ran.out
    assert {*values["order"], *values["hierarchy"]} == {"axis", "neighbours", "severity", "number", "findings"}
    assert values["order"]["severity"] is None
    assert len(values["silhouette"]) == 18
    assert {path.name for path in out.glob("*.png")} == {f"{m}-{w}.png" for m in ("tsne", "pca") for w in ("number", "labels")}
    page = (out / "space.html").read_text()
    assert RESEARCH_USE in page
    assert f"To be cited: {CT_CLIP}." in page
    assert "UNTRAINED WEIGHTS" in ran.out
    latents = read_latents(out / "latents.parquet")
    np.testing.assert_allclose(np.linalg.norm(latents.array, axis=1), 1, atol=1e-5)


def test_severity_of_phantoms_is_read_from_their_truth(command: Command, model_dir: Path, noise: Path, tmp_path: Path) -> None:
    (tmp_path / "phantoms" / "truth").mkdir(parents=True)
    entries = first_volume_per_scan(open_cohort(noise), split="valid", section="findings")
    grades = iter(("mild", "moderate", "severe") * 200)
    scans = [
        {
            "volumes": [{"VolumeName": entry.volume}],
            "findings": [
                {"abnormality": name, "severity": next(grades)} for name, label in zip(ABNORMALITIES, entry.labels, strict=True) if label
            ],
        }
        for entry in entries
    ]
    (tmp_path / "phantoms" / "truth" / "a.json").write_text(json.dumps({"scans": scans}))
    out = tmp_path / "space"
    ran = command("evaluate", "space", model_dir, noise, "--out", out, "--truth", tmp_path / "phantoms", "--resamples", 5)
    assert ran.status == 0, ran.err
    severity = json.loads((out / "space.json").read_text())["order"]["severity"]
    assert set(severity["by_finding"]) == set(ABNORMALITIES)
    assert list(severity["auroc"]) == ["mild", "moderate", "severe"]
    assert -1 <= severity["mean"]["low"] <= severity["mean"]["value"] <= severity["mean"]["high"] <= 1
    assert "severity of a finding" in ran.out
    assert "Is a more severe finding nearer" in (out / "space.html").read_text()


def test_a_split_without_reports_is_refused(command: Command, model_dir: Path, noise: Path, tmp_path: Path) -> None:
    ran = command("evaluate", "space", model_dir, noise, "--out", tmp_path / "space", "--section", "impression")
    assert (ran.status, "no scan of split valid has a report (impression)" in ran.err) == (2, True)

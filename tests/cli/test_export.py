from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.cli import export
from thoracle.models.folder import open_model
from thoracle.types import RESEARCH_USE


@pytest.mark.parametrize("kind", ["int8", "bf16"])
def test_a_model_is_compared_and_written(command, model_dir: Path, noise: Path, tmp_path: Path, kind: str, monkeypatch) -> None:
    monkeypatch.setattr(export, "MOST_LOST", 1.0)  # of an untrained model, AUROC is noise
    ran = command("export", model_dir, f"--{kind}", "--cohort", noise, "--out", tmp_path / "small")
    assert ran.status == 0, ran.err
    for word in ("MB before", "mean AUROC", "probabilities", "s before", RESEARCH_USE):
        assert word in ran.out
    folder = open_model(tmp_path / "small", verify=True)
    assert f"rounded to {kind}" in folder.caution
    assert not folder.trained
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_what_loses_too_much_is_not_written(command, model_dir: Path, noise: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(export, "MOST_LOST", -1.0)
    ran = command("export", model_dir, "--int8", "--cohort", noise, "--out", tmp_path / "small")
    assert ran.status == 2
    assert "nothing was written" in ran.err
    assert not list(tmp_path.iterdir())


def test_one_format_and_a_new_folder_are_needed(command, model_dir: Path, noise: Path, tmp_path: Path) -> None:
    assert command("export", model_dir, "--cohort", noise, "--out", tmp_path / "small").status == 2
    ran = command("export", model_dir, "--int8", "--cohort", noise, "--out", tmp_path)
    assert ran.status == 1
    assert "exists" in ran.err

"""The words of the demo's commands are those of the command line."""

from __future__ import annotations

from pathlib import Path

from thoracle.cli.demo.commands import evaluation, training
from thoracle.training.engine.config import load_config
from thoracle.training.finetuning.config import ClassifierConfig


def test_a_run_is_written_and_goes_on_where_it_was_begun(tmp_path: Path) -> None:
    config = ClassifierConfig(cohort="cohort", init_from="model", out=str(tmp_path / "run"), steps=3)
    settings = tmp_path / "lipro.yaml"
    assert training("lipro", config, tmp_path) == ["train", "classifier", "--config", str(settings)]
    assert load_config(settings, ClassifierConfig) == config
    (tmp_path / "run").mkdir()
    assert training("lipro", config, tmp_path)[-1] == "--resume"


def test_an_evaluation_is_one_that_the_command_line_takes(command, tmp_path: Path) -> None:
    arguments = evaluation("regions", tmp_path / "model", tmp_path)
    assert arguments[:4] == ["evaluate", "detection", str(tmp_path / "model"), str(tmp_path / "cohort")]
    ran = command(*arguments)
    assert ran.status == 2
    assert "No such option" not in ran.err
    assert str(tmp_path / "cohort") in ran.err or str(tmp_path / "model") in ran.err

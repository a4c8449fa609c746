"""The terminal has of each key what docs/reference/settings.md has, and where its value comes from."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

import thoracle.cli.config  # noqa: F401 - adds the verb
from thoracle.cli.app import app
from thoracle.config_help import describe_settings
from thoracle.errors import InputError
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.engine.config import builtin_config
from thoracle.training.labeler.task import LabelerConfig
from thoracle.training.tasks import TASKS


def printed(*arguments: str) -> list[str]:
    result = CliRunner().invoke(app, ["config", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout.splitlines()


def test_all_that_ship_are_listed_under_their_verbs() -> None:
    lines = printed()
    assert [line.split()[-1] for line in lines if not line.startswith(" ")] == list(TASKS)
    assert sorted(line.strip() for line in lines if line.startswith(" ")) == sorted(
        path.stem for path in builtin_config("ct-clip").parent.glob("*.yaml")
    )
    assert lines[lines.index("thoracle train vocabfine") :][:3] == [
        "thoracle train vocabfine",
        "    phantom-tiny-vocabfine",
        "    vocabfine",
    ]


def test_every_key_has_value_source_default_unit_and_meaning() -> None:
    lines = printed("ct-clip-fast", "--set", "optimizer.lr=1e-4", "--set", "model.ctvit.dim=256")
    assert lines[0] == "thoracle train contrastive --config ct-clip-fast"
    for line in (
        "optimizer.lr = 0.0001    (--set, default 1.25e-06)",
        "optimizer.warmup_steps = 500 steps    (ct-clip-fast.yaml, default 0)",
        "optimizer.decay_fraction = 0.2    (default)",
        "model.ctvit.dim = 256    (--set, default 512)",
        "model.bert.hidden_dropout_prob = 0.25    (default)",
        "augmentation = null    (default)",
    ):
        assert line in lines
    at = lines.index("optimizer.warmup_steps = 500 steps    (ct-clip-fast.yaml, default 0)")
    assert lines[at + 1] == "    takes a whole number at least 0. steps over which the learning rate rises linearly."
    plain = [setting.name for setting in describe_settings(ContrastiveConfig) if setting.section is None]
    assert len(plain) > 20
    assert all(any(line.startswith(f"{name} = ") for line in lines) for name in plain)


def test_a_verb_prints_its_defaults_and_a_sections_default_is_the_tasks_own() -> None:
    lines = printed("contrastive")
    assert lines[0] == "thoracle train contrastive --config YAML"
    assert 'negatives = "global"    (default)' in lines
    assert {line.split("    (")[1] for line in lines[1:] if not line.startswith(" ")} == {"default)"}
    assert 'optimizer.schedule = "constant"    (labeler.yaml, default "cosine")' in printed("labeler")
    assert "optimizer.lr = 2e-05    (labeler.yaml, default 2e-05)" in printed("labeler")  # the labeler's, not the optimizer's 1.25e-06
    assert len(fields(LabelerConfig)) < len(printed("labeler"))


def test_a_file_must_say_which_task_it_is_of(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("steps: 3")
    with pytest.raises(InputError, match=r"does not say which task.*task: contrastive.*labeler"):
        printed(str(tmp_path / "my.yaml"))
    (tmp_path / "my.yaml").write_text("task: labeler\nsteps: 3")
    assert "steps = 3 steps    (my.yaml, default 0)" in printed(str(tmp_path / "my.yaml"))
    with pytest.raises(InputError, match="is not a configuration file"):
        printed("ct-clap")

"""The commands of `thoracle train`: their options, which replace settings, and which settings a run gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from thoracle.cli.train.command import Run, TrainTask
from thoracle.cli.train.labeler import LABELER
from thoracle.errors import InputError
from thoracle.training.engine.config import load_config, write_config
from thoracle.training.labeler.task import LabelerConfig
from thoracle.training.tasks import TASKS


class Stop(Exception):
    """Ends a command when its run is prepared."""


def prepared(task: TrainTask[Any], **options: Any) -> tuple[Any, dict[str, Any]]:
    """The configuration and the inputs that a task prepares a run with."""
    found: list[tuple[Any, dict[str, Any]]] = []

    def prepare(config: Any, **inputs: Any) -> Run:
        found.append((config, inputs))
        raise Stop

    values = {name: getattr(task, name) for name in ("name", "help", "config", "settings", "inputs", "override")}
    with pytest.raises(Stop):
        TrainTask(prepare=prepare, **values).run(**options)
    return found[0]


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_command_of_its_options(command, name: str) -> None:
    ran = command("train", name, "--help")
    assert ran.status == 0
    for option in ("--config", "--cohort", "--out", "--set", "--resume"):
        assert option in ran.out
    ran = command("train", name)
    assert (ran.status, "--config" in ran.err) == (2, True)


def test_options_replace_settings_and_a_table_takes_a_cohorts_place(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    config = load_config(Path("phantom-tiny-labeler"), LabelerConfig)
    assert config.cohort
    write_config(config, settings)
    unchanged, inputs = prepared(LABELER, config=settings)
    assert (unchanged, inputs) == (config, {"text_column": None, "id_column": "AccessionNo", "encoding": "utf-8"})
    changed, _ = prepared(LABELER, config=settings, cohort=tmp_path / "c", out=tmp_path / "o")
    assert (changed.cohort, changed.out, changed.init_from) == (str(tmp_path / "c"), str(tmp_path / "o"), config.init_from)
    from_table, inputs = prepared(LABELER, config=settings, reports=tmp_path / "r.csv", cohort=tmp_path / "c", id_column="id")
    assert (from_table.reports, from_table.cohort, inputs["id_column"]) == (str(tmp_path / "r.csv"), "", "id")


def test_a_configuration_of_another_task_is_refused(command) -> None:
    ran = command("train", "vocabfine", "--config", "phantom-tiny-labeler")
    assert (ran.status, InputError.__name__ in ran.err) == (2, True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="trains on the GPU")
@pytest.mark.parametrize("precision", ["bf16", "float16"])
def test_sixteen_bits_are_refused_without_a_gpu(precision: str, tmp_path: Path) -> None:
    values = {name: getattr(LABELER, name) for name in ("name", "help", "config", "settings", "inputs", "override")}
    task: TrainTask[Any] = TrainTask(prepare=lambda *_, **__: Run(start=lambda *_: pytest.fail("began")), **values)
    with pytest.raises(InputError, match=f"{precision} trains on GPUs"):
        task.run(config=Path("phantom-tiny-labeler"), overrides=[f"precision={precision}"], out=tmp_path / "run")

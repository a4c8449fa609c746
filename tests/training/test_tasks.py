"""Each task has one configuration, whose evaluation gives what it can be monitored by."""

from __future__ import annotations

from pathlib import Path

import pytest

from thoracle.errors import InputError
from thoracle.training.contrastive.ctclip import ContrastiveConfig
from thoracle.training.engine.config import RunConfig, builtin_config, load_config, read_settings
from thoracle.training.labeler.task import LabelerConfig
from thoracle.training.tasks import TASKS
from thoracle.types import ABNORMALITIES


def test_verbs_are_those_of_the_command_line() -> None:
    from thoracle.cli.train import VERBS

    assert sorted(TASKS) == sorted(set(VERBS) & set(TASKS))
    assert all(task == cls.TASK for task, cls in TASKS.items())


@pytest.mark.parametrize("file", sorted(builtin_config("ct-clip").parent.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_configuration_that_ships_says_its_task(file: Path) -> None:
    load_config(file, TASKS[read_settings(file)["task"]])


def test_a_configuration_of_another_task_is_refused() -> None:
    with pytest.raises(InputError, match=r"of `thoracle train labeler`. Give one of contrastive"):
        load_config(Path("labeler"), ContrastiveConfig)


@pytest.mark.parametrize(
    ("task", "known", "unknown"),
    [
        ("contrastive", ("macro_auroc", "R@5", ABNORMALITIES[3]), ("macro_f1", "auroc", "R@50", "")),
        ("medfinder", ("R@1", "R@10"), ("r@1",)),
        ("vocabfine", ("macro_auroc",), ("R@5",)),
        ("classifier", ("macro_auroc", ABNORMALITIES[0]), ("R@5",)),
        ("labeler", ("macro_f1", ABNORMALITIES[0]), ("macro_auroc",)),
        ("chat", ("minus_loss",), ("held_out_loss", ABNORMALITIES[0])),
    ],
)
def test_an_unknown_monitor_is_refused(task: str, known: tuple[str, ...], unknown: tuple[str, ...], tmp_path: Path) -> None:
    more = {
        "medfinder": "freeze_text_encoder: false\nmodel: {size: [96, 224, 224], resnet: {}}\npreprocess: {size: [96, 224, 224]}\n",
        "chat": "language_model: base\n",
    }
    for monitor in (*known, *unknown):
        (tmp_path / "config.yaml").write_text(f"steps: 1\n{more.get(task, '')}monitor: '{monitor}'")
        if monitor in known:
            assert load_config(tmp_path / "config.yaml", TASKS[task]).monitor == monitor
        else:
            with pytest.raises(InputError, match=r"monitor is .*, which no evaluation of this run gives\. Give "):
                load_config(tmp_path / "config.yaml", TASKS[task])


def test_what_is_not_asked_for_is_named() -> None:
    with pytest.raises(InputError, match=r"Give macro_f1, or the name of an abnormality\.$"):
        LabelerConfig(monitor="macro_auroc")
    with pytest.raises(InputError, match=r"Give macro_auroc, or the name"):
        RunConfig(monitor="loss")

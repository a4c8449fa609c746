"""`thoracle config`: every key of a training configuration, with its value, where that comes from, its default and meaning."""

from __future__ import annotations

import json
from dataclasses import MISSING, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thoracle.cli.app import app
from thoracle.errors import InputError

if TYPE_CHECKING:
    from thoracle.config_help import SettingInUse
    from thoracle.training.engine.config import RunConfig


@app.command("config")
def config_(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A configuration that ships, a YAML file, or a verb of `thoracle train`; without it, all that ship are listed."
        ),
    ] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Setting in place of the file's.")] = None,
) -> None:
    """Print every key of a training configuration: value, where it comes from, default, unit and meaning."""
    from thoracle.config_help import describe_file
    from thoracle.config_reader import apply_overrides, config_from_mapping, overridden_keys
    from thoracle.training.engine.config import load_config, locate_config, read_settings
    from thoracle.training.tasks import TASKS

    if name is None:
        _print_names()
        return
    path, changed = locate_config(Path(name)), overrides or []
    if name in TASKS and not path.exists():
        cls, values = TASKS[name], apply_overrides(TASKS[name], {}, changed)
        config: RunConfig = config_from_mapping(cls, values, source="--set")
    else:
        cls, values = _task_of(path), read_settings(path)
        config, values = load_config(path, cls, overrides=changed), apply_overrides(cls, values, changed)
    typer.echo(f"thoracle train {cls.TASK} --config {name if path.exists() else 'YAML'}")
    for row in describe_file(config, values):
        given = any(row.key == key or row.key.startswith(f"{key}.") for key in overridden_keys(changed))
        _print_setting(row, "--set" if given else path.name if row.stated else "default")


def _task_of(path: Path) -> type[RunConfig]:
    from thoracle.training.engine.config import read_settings
    from thoracle.training.tasks import TASKS

    task = read_settings(path).get("task")
    if task not in TASKS:
        hint = f"Write a line `task: {next(iter(TASKS))}` into it, or {', '.join(list(TASKS)[1:])}."
        raise InputError("does not say which task it is of", hint=hint, source=path)
    return TASKS[task]


def _print_names() -> None:
    from thoracle.training.engine.config import builtin_config, read_settings
    from thoracle.training.tasks import TASKS

    files = sorted(builtin_config("ct-clip").parent.glob("*.yaml"))
    for task in TASKS:
        typer.echo(f"thoracle train {task}")
        for file in files:
            if read_settings(file)["task"] == task:
                typer.echo(f"    {file.stem}")


def _print_setting(row: SettingInUse, source: str) -> None:
    setting = row.setting
    default = "" if source == "default" or setting.default is MISSING else f", default {_shown(setting.default)}"
    unit = f" {setting.unit}" if setting.unit and row.value is not None else ""
    typer.echo(f"{row.key} = {_shown(row.value)}{unit}    ({source}{default})")
    typer.echo(f"    takes {setting.takes}. {setting.meaning}")


def _shown(value: Any) -> str:
    from thoracle.config_reader import config_to_mapping

    return json.dumps(config_to_mapping(value) if is_dataclass(value) else value)

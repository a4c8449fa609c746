"""Make the command of a training task: its configuration, the options that replace settings, and its run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, TypeVar

import typer

from thoracle.cli.train import train
from thoracle.cli.train.dry_run import print_plan, ranks
from thoracle.cli.train.progress import follow

if TYPE_CHECKING:
    from thoracle.training.engine.config import RunConfig
    from thoracle.training.engine.distributed import World
    from thoracle.training.engine.plan import RunPlan
    from thoracle.training.engine.trainer import Trainer

Settings = TypeVar("Settings", bound="RunConfig")

_IN_PLACE: Final = "in place of the setting."
_CONFIG: Final = Annotated[Path, typer.Option(metavar="YAML", help="Settings, as in `configs/`, or the name of one that is shipped.")]
_COHORT: Final = Annotated[Path | None, typer.Option(metavar="DIR", help=f"What `thoracle prepare` wrote; {_IN_PLACE}")]
_ONLY: Final = Annotated[
    Path | None, typer.Option("--only", metavar="FILE", help=f"List of the volumes to take, as `search --all --csv` writes it; {_IN_PLACE}")
]
_OUT: Final = Annotated[Path | None, typer.Option(metavar="DIR", help=f"The run's folder; {_IN_PLACE}")]
_OVERRIDES: Final = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Setting in place of the file's, such as optimizer.lr=1e-4; may be given again."),
]
_DRY_RUN: Final = Annotated[bool, typer.Option("--dry-run", help="Print what the run needs and this machine lacks; train nothing.")]
_RESUME: Final = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint, if there is one.")]


def setting(flag: str, metavar: str, about: str, *, kind: Any = str) -> Any:
    """Describe an option that replaces a setting of the configuration."""
    return Annotated[kind | None, typer.Option(flag, metavar=metavar, help=f"{about}; {_IN_PLACE}", show_default=False)]


@dataclass(frozen=True, kw_only=True)
class Run:
    """Start and finish a run whose data are at hand.

    Attributes:
        start: makes the trainer, on every rank, new or resumed.
        finish: works on the model folder, on the first rank alone.
    """

    start: Callable[[World, bool], Trainer]
    finish: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True)
class TrainTask(Generic[Settings]):
    """Describe a task of `thoracle train`.

    Attributes:
        name: of the command.
        help: of the command.
        config: imports the class of the configuration.
        settings: options that replace settings, by setting, beside `cohort`, `only` and `out`.
        inputs: options that `prepare` takes, by parameter, with their defaults.
        prepare: opens the data of a run.
        override: puts options in place of settings.
        plan: works out what a run needs, on so many ranks in all and so many of a node; takes what `prepare` does.
            Without it the task has no `--dry-run`.
    """

    name: str
    help: str
    config: Callable[[], type[Settings]]
    prepare: Callable[..., Run]
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    override: Callable[[Settings, Mapping[str, Any]], Settings] = lambda config, values: replace(config, **values)
    plan: Callable[..., RunPlan] | None = None

    def run(
        self, *, config: Path, overrides: Sequence[str] | None = None, resume: bool = False, dry_run: bool = False, **options: Any
    ) -> None:
        """Train to the end; options as those of the command.

        Raises:
            ThoracleError: as `load_config`, the task's data and its trainer.
        """
        from thoracle.cohort.manifest import open_cohort
        from thoracle.config_reader import config_to_mapping
        from thoracle.errors import InputError
        from thoracle.training.engine.distributed import distributed_context

        inputs = {name: options.get(name, default) for name, (_, default) in self.inputs.items()}
        settings = {name: options.get(name) for name in (*self.settings, "cohort", "only", "out")}
        configured = self._config(config, settings, overrides or ())
        if dry_run and self.plan is not None:
            print_plan(configured, self.plan(configured, *ranks(), **inputs))
            return
        prepared = self.prepare(configured, **inputs)
        with distributed_context(timedelta(hours=configured.collective_timeout_hours)) as world:
            if configured.precision != "float32" and world.device.type == "cpu":
                raise InputError(f"{configured.precision} trains on GPUs", hint="Set precision to float32.", source="config")
            if world.rank == 0 and configured.only:
                typer.echo(open_cohort(config_to_mapping(configured)["cohort"], only=configured.only).selection, err=True)
            follow(prepared.start(world, resume), quiet=world.rank > 0)
            if world.rank == 0:
                prepared.finish()

    def _config(self, path: Path, settings: Mapping[str, Any], overrides: Sequence[str]) -> Settings:
        """Read the configuration, and put the options that were given in place of its settings."""
        from thoracle.training.engine.config import load_config

        values = {name: str(value) for name, value in settings.items() if value not in (None, "")}
        return self.override(load_config(path, self.config(), overrides=overrides), values)


def add_command(task: TrainTask[Settings]) -> None:
    """Add a task's command to `thoracle train`."""
    options = {
        "config": (_CONFIG, inspect.Parameter.empty),
        **{name: (kind, None) for name, kind in task.settings.items()},
        "cohort": (_COHORT, None),
        "only": (_ONLY, None),
        **task.inputs,
        "out": (_OUT, None),
        "overrides": (_OVERRIDES, None),
        "resume": (_RESUME, False),
        **({"dry_run": (_DRY_RUN, False)} if task.plan is not None else {}),
    }

    def command(**values: Any) -> None:
        task.run(**values)

    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, (kind, default) in options.items()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # which typer makes options of
    command.__annotations__ = {name: kind for name, (kind, _) in options.items()}
    train.command(task.name, help=task.help)(command)

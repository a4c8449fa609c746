"""The command's root: knows the verbs' names, and turns our errors into one line and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import typer

from thoracle.errors import InputError, ThoracleError, TrainingStopped
from thoracle.text_safety import terminal_safe
from thoracle.version import __version__

#: The modules of this room that add a verb, in the order of `thoracle --help`; a package among them names its own modules.
VERBS = (
    "detect",
    "chat",
    "explain",
    "embed",
    "label",
    "inspect",
    "prepare",
    "cohort",
    "vqa",
    "train",
    "config",
    "evaluate",
    "index",
    "search",
    "compare",
    "phantom",
    "import_",
    "export",
    "fetch",
    "serve",
    "doctor",
    "demo.stages",
)

#: Asks a scheduler to start the job again (docs/decisions/0125-stop-signals.md).
_REQUEUE = 99

app = typer.Typer(
    name="thoracle",
    help="Read chest CT together with the words of radiology. Research use only. Not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested_flag: bool) -> None:
    if requested_flag:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version.")) -> None:
    """Read chest CT together with the words of radiology. Research use only. Not a medical device."""


def _add_verbs(package: str, names: Sequence[str]) -> None:
    """Import the modules of a package that add a verb; one that is a package itself names its own in `VERBS`."""
    for name in names:
        module = import_module(f"{package}.{name}")
        _add_verbs(module.__name__, getattr(module, "VERBS", ()))


def main() -> None:
    """Exit status: 0 all well, 1 a scan or model failed, 2 the command was wrong, 99 stopped by a scheduler's signal, 130 interrupted."""
    # Threads that wait for each other asleep: awake, they take the time of whatever else runs on these cores. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _add_verbs("thoracle.cli", VERBS)
    try:
        app()
    except ThoracleError as error:
        typer.echo(terminal_safe(f"{type(error).__name__}: {error}"), err=True)
        sys.exit(2 if isinstance(error, InputError) else _REQUEUE if isinstance(error, TrainingStopped) else 1)
    except OSError as error:
        typer.echo(f"{type(error).__name__}: {error.filename or 'output'}: {error.strerror}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("Interrupted; what was finished is kept.", err=True)
        sys.exit(130)

"""`thoracle train`: one file a task of this folder adds a command to the group."""

from __future__ import annotations

import typer

from thoracle.cli.app import app

train = typer.Typer(help="Train a model; under `torchrun`, on many GPUs.", no_args_is_help=True)
app.add_typer(train, name="train")


@train.callback()
def root() -> None:
    """Train a model; under `torchrun`, on many GPUs."""

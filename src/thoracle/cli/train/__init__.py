"""Train a model: one file a task of this folder adds a command to the group."""

from __future__ import annotations

from typing import Final

import typer

from thoracle.cli.app import app

#: The modules of this folder that add a task, in the order of `thoracle train --help`.
VERBS: Final = ("contrastive", "medfinder", "vocabfine", "labeler", "chat", "classifier", "student", "regions")

train = typer.Typer(help="Train a model; under `torchrun`, on many GPUs.", no_args_is_help=True)
app.add_typer(train, name="train")


@train.callback()
def root() -> None:
    """Train a model; under `torchrun`, on many GPUs."""

"""`thoracle evaluate`: one file a protocol of this folder adds a command to the group."""

from __future__ import annotations

from typing import Final

import typer

from thoracle.cli.app import app

#: The modules of this folder that add a protocol, in the order of `thoracle evaluate --help`.
VERBS: Final = ("labeler", "detection", "explanation", "prompts", "space", "chat", "retrieval")

evaluate = typer.Typer(help="Measure a model, with intervals over patients.", no_args_is_help=True)
app.add_typer(evaluate, name="evaluate")


@evaluate.callback()
def root() -> None:
    """Measure a model, with intervals over patients."""

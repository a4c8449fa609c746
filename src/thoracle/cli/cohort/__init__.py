"""`thoracle cohort`: one file of this folder for each thing that is asked of a prepared cohort."""

from __future__ import annotations

from typing import Final

import typer

from thoracle.cli.app import app

#: The modules of this folder that add a command, in the order of `thoracle cohort --help`.
VERBS: Final = ("who",)

cohort = typer.Typer(no_args_is_help=True)
app.add_typer(cohort, name="cohort")


@cohort.callback(help="Ask a prepared cohort: which scan a pseudonym is.")
def root() -> None:
    """Ask a prepared cohort."""

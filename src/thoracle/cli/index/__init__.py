"""`thoracle index`: one file of this folder for each thing that is done to an index; without a name, a cohort is added."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from thoracle.cli.app import app

#: The modules of this folder that add a command, in the order of `thoracle index --help`.
VERBS: Final = ("add", "copy", "delete", "check")

IndexLocation = Annotated[str, typer.Argument(metavar="INDEX", help="A folder, or http://HOST:6333/NAME on a Qdrant server.")]


class _AddByDefault(TyperGroup):
    """`thoracle index COHORT …` is `thoracle index add COHORT …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; Typer's context has no public type."""
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["add", *args]
        return super().parse_args(ctx, args)


index = typer.Typer(cls=_AddByDefault, no_args_is_help=True)
app.add_typer(index, name="index")


@index.callback(help="Make cases searchable: `thoracle index COHORT --model M --out INDEX`; copy, check an index, delete from it.")
def root() -> None:
    """Make cases searchable."""

"""`thoracle index copy FROM TO`: the same records in another place, from a folder to a server or back."""

from __future__ import annotations

from typing import Annotated

import typer

from thoracle.cli.index import Place, index


@index.command()
def copy(
    source: Place,
    target: Annotated[str, typer.Argument(metavar="TO", help="A folder, or http://HOST:6333/NAME on a Qdrant server.")],
) -> None:
    """Copy an index to a server when one machine is not enough for it, or from there to a folder. Can be stopped and given again.

    A server's key is taken from QDRANT_API_KEY.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from thoracle.search.copy import copy_index
    from thoracle.search.places import changed, opened

    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("volumes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with opened(source) as old, changed(target, old.settings) as new, Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=len(old))
        copy_index(old, new, progress=lambda done: bar.update(task, completed=done))
        volumes = len(new)
    console.print(f"{volumes:,} volumes: {target}", markup=False)

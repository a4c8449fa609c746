"""`thoracle index copy FROM TO`: the same records in another place, from a folder to a server or back."""

from __future__ import annotations

from typing import Annotated

import typer

from thoracle.cli.index import IndexLocation, index


@index.command()
def copy(
    source: IndexLocation,
    target: Annotated[str, typer.Argument(metavar="TO", help="A folder, or http://HOST:6333/NAME on a Qdrant server.")],
) -> None:
    """Copy an index to a server when one machine is not enough for it, or from there to a folder. Can be stopped and given again.

    A server's key is taken from QDRANT_API_KEY.
    """
    from rich.console import Console

    from thoracle.cli.progress import ProgressBar
    from thoracle.search.copy import copy_index
    from thoracle.search.open_index import open_index, open_index_for_writing, open_reports, reports_location

    console = Console(stderr=True, highlight=False)
    with (
        open_index(source) as old,
        open_index_for_writing(target, old.settings) as new,
        ProgressBar("volumes", console=console, total=len(old)) as bar,
    ):
        copy_index(old, new, progress=bar.update)
        volumes = len(new)
    with open_reports(source) as old_reports:
        if old_reports is not None:
            with (
                open_index_for_writing(reports_location(target), old_reports.settings) as new_reports,
                ProgressBar("reports", console=console, total=len(old_reports)) as bar,
            ):
                copy_index(old_reports, new_reports, progress=bar.update)
    console.print(f"{volumes:,} volumes: {target}", markup=False)

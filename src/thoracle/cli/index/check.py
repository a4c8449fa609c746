"""`thoracle index check INDEX`: whether records, latents and words agree; files that are behind are made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thoracle.cli.index import index


@index.command()
def check(index_location: Annotated[Path, typer.Argument(metavar="INDEX", help="A folder.")]) -> None:
    """Compare all that an index keeps, finish what a killed process left, and make the files anew that are copies of the database."""
    from thoracle.search.local.faiss_lists import read_info
    from thoracle.search.local.index import open_for_writing
    from thoracle.search.open_index import reports_location

    with open_for_writing(index_location) as opened:
        opened.check()
        volumes = len(opened)
    typer.echo(f"{volumes:,} volumes; records, latents and words agree: {index_location}")
    if (folder := Path(reports_location(str(index_location)))).exists():
        with open_for_writing(folder) as opened:
            opened.check()
            typer.echo(f"{len(opened):,} reports; records, latents and words agree.")
    if info := read_info(index_location):
        typer.echo(info.sentence())

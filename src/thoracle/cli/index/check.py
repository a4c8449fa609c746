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

    with open_for_writing(index_location) as opened:
        opened.check()
        volumes = len(opened)
    typer.echo(f"{volumes:,} volumes; records, latents and words agree: {index_location}")
    if info := read_info(index_location):
        typer.echo(info.sentence())

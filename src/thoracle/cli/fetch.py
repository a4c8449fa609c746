"""`thoracle fetch`: what has been published, where, under which licence; and the download of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thoracle.cli.app import app
from thoracle.errors import InputError
from thoracle.models.hub.catalogue import CATALOGUE
from thoracle.models.hub.download import fetch as download


@app.command()
def fetch(
    name: Annotated[str | None, typer.Argument(help="What to fetch; without it, everything published is listed.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to download into.")] = None,
    include: Annotated[list[str] | None, typer.Option("--include", help="Paths or patterns of the repository; may be repeated.")] = None,
) -> None:
    """List published weights and data sets, or download one. Your account comes from `hf auth login` or HF_TOKEN."""
    if name is None:
        _print_catalogue()
        return
    if out is None:
        raise InputError("no folder to download into", hint="Give --out DIR.")
    for path in download(name, out=out, include=include or ()):
        typer.echo(path)


def _print_catalogue() -> None:
    """Three lines each, so that an address is never broken."""
    for entry in CATALOGUE.values():
        typer.echo(f"{entry.name:16}{entry.size:12}{entry.licence:17}{entry.purpose}")
        typer.echo(f"{'':16}{entry.address}{'  (accept its terms there first)' if entry.gated else ''}")
        typer.echo(f"{'':16}brings {entry.contents}")

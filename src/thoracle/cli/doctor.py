"""`thoracle doctor`: what this machine offers."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from thoracle.cli.app import app


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print versions, DICOM codecs, devices, memory, SQLite, and where the cache is."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from thoracle.inference.environment import examine

    environment = examine()
    if as_json:
        typer.echo(json.dumps(asdict(environment), indent=2))
        return
    console = Console(highlight=False)
    topics = {
        "Versions": environment.versions,
        "DICOM codecs": {name: ", ".join(libraries) or "none" for name, libraries in environment.codecs.items()},
        "Devices": environment.devices,
        "Machine": {"memory": environment.memory, "cache": environment.cache, "disk": environment.disk},
    }
    for topic, facts in topics.items():
        table = Table(title=topic, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
        for name, value in facts.items():
            table.add_row(escape(name), escape(value))
        console.print(table)
    for warning in environment.warnings:
        console.print(f"[yellow]Warning:[/] {escape(warning)}")

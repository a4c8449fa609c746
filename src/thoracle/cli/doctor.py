"""`thoracle doctor`: what this machine offers."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from thoracle.cli.app import app
from thoracle.cli.options import StandardOutput
from thoracle.errors import InputError


@app.command()
def doctor(
    output: StandardOutput = None, *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as `--json -` does.")] = False
) -> None:
    """Print versions, extras, DICOM codecs, devices, memory, models, chat, site key, SQLite, and where the cache is."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from thoracle.inference.environment import examine

    if output is not None and (output != "-" or not as_json):
        raise InputError(f"{output!r} is one argument too many", hint="Give --json for JSON.")
    environment = examine()
    if as_json:
        typer.echo(json.dumps(asdict(environment), indent=2))
        return
    console = Console(highlight=False)
    topics = {
        "Versions": environment.versions,
        "Extras": environment.extras,
        "DICOM codecs": {name: ", ".join(libraries) or "none" for name, libraries in environment.codecs.items()},
        "Devices": environment.devices,
        "Models": environment.models,
        "Machine": {"memory": environment.memory, "cache": environment.cache, "disk": environment.disk},
    }
    for topic, facts in topics.items():
        table = Table(title=topic, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
        for name, value in facts.items():
            table.add_row(escape(name), escape(value))
        console.print(table)
    for warning in environment.warnings:
        console.print(f"[yellow]Warning:[/] {escape(warning)}")

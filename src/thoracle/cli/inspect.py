"""`thoracle inspect`: what reading a scan gives, and whether it is a chest; no model is asked."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoracle.cli.app import app
from thoracle.cli.options import ReadArguments, StandardOutput, reads_scans
from thoracle.errors import InputError
from thoracle.types import RESEARCH_USE

if TYPE_CHECKING:
    from thoracle.ct.chest.quality import Quality
    from thoracle.ct.volume import Volume


@app.command()
@reads_scans
def inspect(
    scan: Annotated[Path, typer.Argument(metavar="SCAN", help="A file, a DICOM folder, or a .zip of one.")],
    output: StandardOutput = None,
    *,
    read_arguments: ReadArguments,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as `--json -` does.")] = False,
) -> None:
    """Print a scan's geometry, how its Hounsfield units were found, what of a chest it covers, and what to be wary of.

    Exit status: 0 read, 1 refused, 2 the command was wrong. A scan that is no chest is warned of, not refused.
    """
    from thoracle.ct.chest.quality import assess
    from thoracle.ct.inspection import inspection_json
    from thoracle.ct.metadata import MetadataTable
    from thoracle.ct.read import read
    from thoracle.files.table import TABLE_SUFFIXES

    if output is not None:
        scan, output = (Path(output), str(scan)) if str(scan) == "-" else (scan, output)
        if output != "-" or not as_json:
            raise InputError(f"{output!r} is one argument too many", hint="Give one scan; --json prints JSON.")
    arguments = asdict(read_arguments)
    encoding, metadata = arguments.pop("encoding"), read_arguments.metadata
    if metadata is not None and metadata.suffix.lower() in TABLE_SUFFIXES:
        arguments["metadata"] = MetadataTable.open(metadata, encoding=encoding)
    volume = read(scan, **arguments)
    quality = assess(volume)
    if as_json:
        typer.echo(json.dumps(inspection_json(volume, quality), indent=2))
    else:
        _show(volume, quality, name=scan.name)


def _show(volume: Volume, quality: Quality, *, name: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from thoracle.ct.inspection import extent_mm

    provenance, units = volume.provenance, volume.provenance.hounsfield
    facts = {
        "Format": provenance.format,
        "Voxels": f"{_times(volume.array.shape)} {volume.array.dtype}, towards left, posterior, superior",
        "Spacing": f"{_times(volume.spacing)} mm",
        "Extent": f"{_times(extent_mm(volume))} mm",
        "Geometry": f"from {provenance.geometry}",
        "Units": f"{units.source}: HU = {units.slope:g} x stored {units.intercept:+g}",
        "Evidence": units.evidence,
        "Not applied": "; ".join(units.ignored_rescales),
        "Repaired": "; ".join(provenance.notes),
        "Chest": "yes" if quality.is_chest else "no",
        "Coverage": quality.coverage,
        "Box": quality.box.as_text() if quality.box else "",
        "SHA-256": provenance.sha256,
    }
    table = Table(title=escape(name), title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
    for topic, detail in facts.items():
        if detail:
            table.add_row(topic, escape(detail))
    console = Console(highlight=False)
    console.print(table)
    for warning in quality.warnings:
        console.print(f"[yellow]Warning:[/] {escape(warning)}")
    console.print(RESEARCH_USE)


def _times(numbers: tuple[float, ...]) -> str:
    return " x ".join(f"{number:.6g}" for number in numbers)

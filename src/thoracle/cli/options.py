"""Options that several verbs take, worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Units = Literal["auto", "stored", "rescale"]
Precision = Literal["float32", "bf16"]

Scans = Annotated[list[Path], typer.Argument(metavar="SCAN", help="Files, folders, or CSV tables with VolumeName or path.")]
ModelFolder = Annotated[
    Path | None, typer.Option("--model", metavar="DIR", help="Model folder, as `thoracle import` writes it. The demo's by default.")
]
Metadata = Annotated[Path | None, typer.Option(metavar="FILE", help="CT-RATE's metadata table, or a JSON file with one row.")]
Hu = Annotated[Units, typer.Option(help="Are voxels Hounsfield units (stored), or do slope and intercept apply (rescale)?")]
Series = Annotated[str | None, typer.Option(metavar="UID", help="SeriesInstanceUID, or a unique beginning, where a folder holds several.")]
MinSlices = Annotated[int, typer.Option(min=1, help="Fewest axial slices that are taken as a volume.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse what the model was not made for, where a warning is the default.")]
Part = Annotated[str | None, typer.Option("--shard", metavar="3/16", help="Do the third of sixteen parts, into a file of its own.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
Dtype = Annotated[Precision, typer.Option(help="float32 is exact; bf16 is faster and flips some codes.")]

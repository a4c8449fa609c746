"""`thoracle demo`: the main job from end to end, on a machine that has neither data nor weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from thoracle.cli.app import app

_REAL_CHEST = Path("dicom") / "cip_ct64"


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where model, scan and findings go.")] = Path("demo-out"),
) -> None:
    """Make a tiny untrained model, and look for 18 abnormalities in a chest with it.

    The chest is a real one where THORACLE_DATA (or ../shared/data) holds dicom/cip_ct64, otherwise a sketch of ellipsoids. The model is
    random: this shows that everything works, and nothing about the chest.
    """
    from thoracle.cli.detect import detect
    from thoracle.inference.demo import write_model, write_scan

    typer.echo("Demo: a tiny model with RANDOM weights. It has never seen a scan; its probabilities mean nothing.\n")
    model = write_model(out / "model").path
    real = Path(os.environ.get("THORACLE_DATA") or Path("..", "shared", "data")) / _REAL_CHEST
    scan = real if real.is_dir() else write_scan(out / "sketch.nii.gz")
    findings = out / "findings.json"
    detect([scan], model=model, json_file=findings)
    typer.echo(f"\nmodel     {model}\nscan      {scan}\nfindings  {findings}")

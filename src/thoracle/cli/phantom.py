"""`thoracle phantom`: makes a cohort of synthetic chest CT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from thoracle.cli.app import app


@app.command()
def phantom(  # noqa: PLR0917  # typer makes options of them
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to fill; a run that was stopped there is continued.")],
    num_scans: Annotated[int, typer.Option(help="How many scans.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    preset: Annotated[
        str, typer.Option(help="tiny (96 x 96 x 85 at 4 mm), small (192 x 192 x 170 at 2 mm) or full (512 x 512 x 340).")
    ] = "tiny",
    layout: Annotated[str, typer.Option(help="Whose folders and tables: ct-rate or bimcv-r.")] = "ct-rate",
    aligned: Annotated[bool, typer.Option("--aligned", help="Lay all chests alike, as no patients lie: for comparison.")] = False,
    workers: Annotated[int | None, typer.Option(help="Processes; as many as cores and one by default.", show_default=False)] = None,
) -> None:
    """Make synthetic chest CTs with reports, labels and masks of the 18 abnormalities."""
    from rich.console import Console

    from thoracle.cli.progress import ProgressBar
    from thoracle.phantom.cohort import write_cohort
    from thoracle.phantom.layout import Layout

    with ProgressBar("phantoms", console=Console(stderr=True), total=num_scans, transient=True) as bar:
        cohort = write_cohort(
            out,
            cases=num_scans,
            seed=seed,
            preset=preset,
            layout=cast(Layout, layout),
            aligned=aligned,
            workers=workers,
            progress=bar.advance,
        )
    again = f" ({cohort.present} were already there)" if cohort.present else ""
    typer.echo(f"{cohort.scans} scans of {cohort.patients} patients, {cohort.volumes} volumes in {out}{again}")

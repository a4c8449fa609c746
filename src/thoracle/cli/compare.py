"""`thoracle compare`: two runs on the same scans, by paired differences with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thoracle.cli.app import app


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="A.json", help="results.json of a run.")],
    second: Annotated[Path, typer.Argument(metavar="B.json", help="results.json of another run on the same scans.")],
    *,
    resamples: Annotated[int, typer.Option(min=1, help="Draws of patients.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
) -> None:
    """Print A minus B: by the same draws of patients for both runs, and for AUROC by DeLong's paired test."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from thoracle.errors import InputError
    from thoracle.evaluation.detection.compare import compare as run
    from thoracle.evaluation.detection.report import title
    from thoracle.evaluation.detection.results_json import read_run
    from thoracle.evaluation.html.page import with_bounds
    from thoracle.types import RESEARCH_USE

    for path in (first, second):
        if not path.is_file():
            raise InputError("no such file", hint="Check the path.", source=path)
    comparison = run(read_run(first), read_run(second), resamples=resamples, seed=seed)
    console = Console(highlight=False)
    console.print(
        f"{escape(str(first))} minus {escape(str(second))}: {comparison.scans:,} scans of {comparison.patients:,} patients, 95% intervals"
    )
    table = Table(box=None, pad_edge=False, header_style="")
    for column in ("", "difference", "p"):
        table.add_column(column)
    rows = [(title(name), difference) for name, difference in comparison.average.items()]
    rows += [(f"AUROC, {label} (DeLong)", difference) for label, difference in comparison.delong.items()]
    for name, difference in rows:
        table.add_row(
            escape(name),
            with_bounds(difference.value, difference.low, difference.high),
            "–" if difference.p != difference.p else f"{difference.p:.3f}",
        )
    console.print(table)
    console.print("p is of each line alone: of twenty lines without any difference, one is expected below 0.05.")
    console.print(RESEARCH_USE)

"""One scan on the terminal: the table of its findings, and where the seconds went."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.bar import Bar
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from thoracle.inference.findings import Findings

UNTRAINED = "UNTRAINED WEIGHTS: probabilities mean nothing."
_BAR_WIDTH = 24


def notify(sentence: str) -> None:
    """Print what a user should know beside the output."""
    typer.echo(sentence, err=True)


class Stopwatch:
    """Hold seconds by stage, in the order they were first entered."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count what runs inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = time.perf_counter() - start

    def __str__(self) -> str:
        return ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in self.seconds.items())


def show_findings(console: Console, findings: Findings, *, scan: str, model: str, watch: Stopwatch) -> None:
    """Print the table of findings, with warnings above and below it."""
    console.print(f"[bold]{escape(scan)}[/]", highlight=False)
    console.print(f"model {escape(model)}, {findings.model_sha256[:12]}, {findings.precision}", highlight=False)
    if findings.provenance is not None:
        units = findings.provenance.hounsfield
        console.print(f"{findings.provenance.format}; units from {escape(units.source)}: {escape(units.evidence)}", highlight=False)
        console.print(f"geometry from {escape(findings.provenance.geometry)}", highlight=False)
        for what in (*findings.provenance.notes, *(f"not applied: {rescale}" for rescale in units.ignored_rescales)):
            console.print(escape(what), highlight=False)
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("Abnormality")
    table.add_column("Probability", justify="right")
    table.add_column(width=_BAR_WIDTH)
    table.add_column("" if findings.coverage is None else "Verdict")
    verdicts = findings.verdicts or (None,) * len(findings.abnormalities)
    uncalibrated = "" if findings.coverage is None else "not calibrated"
    for name, probability, verdict in zip(findings.abnormalities, findings.probabilities, verdicts, strict=True):
        bar = Bar(size=1.0, begin=0.0, end=probability, width=_BAR_WIDTH)
        table.add_row(escape(name), f"{probability:.3f}", bar, verdict or uncalibrated)
    console.print(table)
    if findings.coverage is not None:
        console.print(f"Calibrated. At least {findings.coverage:.0%} of verdicts are not the wrong one.", highlight=False)
    for warning in findings.warnings:
        console.print(f"[yellow]Warning:[/] {escape(warning)}", highlight=False)
    if not findings.trained:
        console.print(f"[bold red]{UNTRAINED}[/]")
    console.print(str(watch), style="dim", highlight=False)
    console.print(findings.notice)

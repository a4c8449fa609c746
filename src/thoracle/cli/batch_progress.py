"""Many scans on the terminal: which part of them, progress, failures, and how to go on after a stop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from thoracle.cli.findings_table import UNTRAINED, notify
from thoracle.cli.progress import track
from thoracle.types import RESEARCH_USE

if TYPE_CHECKING:
    from thoracle.ct.read import Metadata
    from thoracle.inference.batch.discover_scans import ScanLocation
    from thoracle.inference.batch.runner import ScanOutcome


def select(
    scans: Sequence[ScanLocation], out: Path, shard: str | None, *, metadata: Metadata | None
) -> tuple[Sequence[ScanLocation], Path]:
    """Return the scans of a shard and the file it writes; all scans and `out` without a shard. Say how many of all have metadata.

    Raises:
        InputError: the shard makes no sense.
        MetadataError: a metadata table without a row for any scan.
    """
    from thoracle.inference.batch.discover_scans import Shard
    from thoracle.inference.batch.runner import metadata_coverage

    if coverage := metadata_coverage(scans, metadata):
        notify(coverage)
    if shard is None:
        return scans, out
    part = Shard.parse(shard)
    return part.of(scans), part.file(out)


def follow(outcomes: Iterator[ScanOutcome], *, total: int, before: int, out: Path, trained: bool) -> int:
    """Show progress and each failure as it comes, then what became of all; returns how many failed.

    Raises:
        KeyboardInterrupt: after saying how to go on.
    """
    console = Console(stderr=True, highlight=False)
    try:
        failed = _show(outcomes, total, console)
    except KeyboardInterrupt:
        console.print(f"Interrupted. What is done is in {escape(str(out))}; the same command goes on from there.")
        raise
    console.print(f"{total - failed} done, {before} done before, {failed} failed: {escape(str(out))}")
    if not trained:
        console.print(f"[bold red]{UNTRAINED}[/]")
    console.print(RESEARCH_USE)
    return failed


def _show(outcomes: Iterator[ScanOutcome], total: int, console: Console) -> int:
    failed = 0
    for outcome in track(outcomes, description="scans", total=total, console=console, rate="min"):
        if outcome.failure is not None:
            failed += 1
            console.print(f"[red]{escape(outcome.name)}[/]: {outcome.failure.error}: {escape(outcome.failure.message)}")
        if outcome.note:
            console.print(f"{escape(outcome.name)}: {escape(outcome.note)}.")
    return failed

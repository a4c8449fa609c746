"""`thoracle index COHORT --model M --out INDEX`: a prepared cohort becomes searchable."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoracle.cli.index import index
from thoracle.cli.options import Device, Dtype, ModelFolder, Only

if TYPE_CHECKING:
    from rich.console import Console

    from thoracle.cli.progress import ProgressBar
    from thoracle.search.indexing import IndexProgress


@index.command()
def add(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="What `thoracle prepare` wrote, for this model.")],
    *,
    out: Annotated[str, typer.Option(metavar="INDEX", help="A folder, or http://HOST:6333/NAME on a Qdrant server.")],
    model: ModelFolder = None,
    split: Annotated[
        list[str] | None, typer.Option(metavar="train|dev|valid|test", help="Only these splits; may be repeated.", show_default=False)
    ] = None,
    only: Only = None,
    keep_identifiers: Annotated[
        bool, typer.Option("--keep-identifiers", help="Keep a hospital's own names and numbers instead of pseudonyms.")
    ] = False,
    site_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Key of the pseudonyms; made where there is none.")] = None,
    thumbnails: Annotated[bool, typer.Option(help="Keep a few small slices of each volume, for --html.")] = True,
    approximate: Annotated[
        bool | None, typer.Option("--approximate/--exact", help="With or without an approximate index; by default from 200,000 volumes.")
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
) -> None:
    """Encode each volume of a cohort, and keep its latent with its report, labels and facts where `thoracle search` finds them.

    A run that was stopped goes on where it was when the same command is given again; so does one on a cohort that has grown or changed.

    Exit status: 0 all well, 1 a volume could not be read, 2 the command was wrong.
    """
    from rich.console import Console
    from rich.markup import escape

    from thoracle.cli.findings_table import UNTRAINED, notify
    from thoracle.cli.progress import ProgressBar
    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.pseudonyms import SiteKey, default_key_file
    from thoracle.cohort.sources import SPLITS
    from thoracle.errors import InputError
    from thoracle.inference.demo.default_model import model_or_demo
    from thoracle.inference.model import load
    from thoracle.inference.model_locations import register
    from thoracle.search.indexing import encode_queries, index_cohort, index_settings
    from thoracle.search.local.faiss_lists import read_info
    from thoracle.search.open_index import open_index_for_writing
    from thoracle.types import RESEARCH_USE

    console, chosen = Console(stderr=True, highlight=False), split or SPLITS
    if unknown := sorted(set(chosen) - set(SPLITS)):
        raise InputError(f"no split {', '.join(unknown)!r:.60}", hint=f"There are {', '.join(SPLITS)}.")
    prepared = open_cohort(cohort, only=only)
    if prepared.selection:
        console.print(prepared.selection, markup=False)
    covered = prepared.naming == "real" and not keep_identifiers
    key = SiteKey.open(site_key or default_key_file(), outside=Path(out)) if covered else None
    network = load(model_or_demo(model, notify=notify), device=device, dtype=dtype)
    splits = [name for name in SPLITS if name in chosen]
    texts = partial(encode_queries, network)
    with open_index_for_writing(out, index_settings(network, prepared, key), lists=approximate, texts=texts) as backend:
        with ProgressBar("volumes", console=console) as bar:
            failed = index_cohort(
                backend,
                prepared,
                network,
                splits=splits,
                key=key,
                thumbnails=thumbnails,
                progress=lambda progress: _show(progress, bar, console),
            )
        volumes = len(backend)
    register(network.folder.path, network.folder.weights_sha256)
    console.print(f"{volumes:,} volumes, {failed} failed: {escape(out)}")
    if info := read_info(Path(out)):
        console.print(info.sentence())
    if not network.folder.trained:
        console.print(f"[bold red]{UNTRAINED.replace('probabilities mean', 'what is found means')}[/]")
    console.print(RESEARCH_USE)
    if failed:
        raise typer.Exit(1)


def _show(progress: IndexProgress, bar: ProgressBar, console: Console) -> None:
    """Print a volume that could not be read, and count those that are on the disk."""
    from rich.markup import escape

    if progress.failed:
        console.print(f"[red]{escape(progress.failed)}[/]: its cached volume is damaged; `thoracle prepare --verify` mends it.")
    bar.update(progress.completed, total=progress.total)

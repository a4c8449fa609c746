"""`thoracle prepare`: an archive of scans, reports and labels becomes a cohort that can be trained on."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thoracle.cli.app import app
from thoracle.cli.options import Only, ReadArguments, reads_scans

if TYPE_CHECKING:
    from rich.console import Console

    from thoracle.cli.progress import ProgressBar
    from thoracle.cohort.prepare import PreparationSummary, PrepareProgress

Layout = Literal["ct-rate", "bimcv-r", "dicom", "folder"]


@app.command()
@reads_scans
def prepare(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="The archive's folder.")],
    *,
    layout: Annotated[Layout, typer.Option(help="How the archive is laid out.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Manifest, quality report, cache.")],
    preprocess: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="A model's folder or config.json, the catalogue's name of its file, a training configuration, by its file or as "
            "`thoracle config` names it, or preprocessing alone. CT-CLIP's by default.",
        ),
    ] = None,
    reconstruction: Annotated[
        str, typer.Option(metavar="CHOICE", help="all, kernel=NAME,… or thickness=MM: which volumes of a scan.")
    ] = "all",
    only: Only = None,
    split_seed: Annotated[int, typer.Option(help="Splits patients whom the archive does not split.")] = 0,
    dev_share: Annotated[
        float, typer.Option(min=0, max=0.5, help="Of training patients, what training is evaluated on and chosen by; 0 trains on all.")
    ] = 0.05,
    keep_identifiers: Annotated[
        bool, typer.Option("--keep-identifiers", help="dicom, folder: keep names and numbers instead of pseudonyms.")
    ] = False,
    derived: Annotated[
        bool, typer.Option("--derived", help="dicom: take projections, reformatted images and maps as volumes too.")
    ] = False,
    site_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Key of the pseudonyms; made where there is none.")] = None,
    label: Annotated[
        bool, typer.Option("--label", help="Label scans that have a report and no labels, by the rules of `thoracle label`.")
    ] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove volumes from DIR that are no longer in SRC.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Hash every cached volume, and read again what is damaged.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try all that was refused again.")] = False,
    fail_on_refused: Annotated[bool, typer.Option("--fail-on-refused", help="Exit with status 1 if a scan was refused.")] = False,
    series: Annotated[
        list[str] | None,
        typer.Option(
            metavar="UID", help="UID#2: of the volumes under one SeriesInstanceUID, the second. As often as needed.", show_default=False
        ),
    ] = None,
    read_arguments: ReadArguments,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; as many as cores by default.")] = None,
) -> None:
    """Read every scan of an archive once, and keep what a model is given of it, with reports, labels and splits by patient.

    DIR gets manifest.csv, quality.html and quality.csv (each refused scan and why), cohort.json and cache/. A run that was stopped goes on
    where it was when the same command is given again; so does one on an archive that has grown. What is no longer in SRC stays in DIR,
    unless --prune is given.

    Exit status: 0 also with refused scans, which are counted; 1 nothing could be used, or with --fail-on-refused a scan was refused; 2 the
    command was wrong.
    """
    from rich.console import Console

    from thoracle.cli.progress import ProgressBar
    from thoracle.cohort.prepare import prepare as run
    from thoracle.cohort.preprocess_file import read_preprocess
    from thoracle.cohort.reconstruction import ReconstructionFilter
    from thoracle.ct.preprocess import PreprocessConfig, Preprocessing
    from thoracle.inference.labeler.rules import RuleLabeller

    console = Console(stderr=True, highlight=False)
    config: Preprocessing = PreprocessConfig() if preprocess is None else read_preprocess(_settings_file(preprocess))
    choice = ReconstructionFilter.parse(reconstruction)
    with ExitStack() as stack:

        def new_bar(description: str) -> ProgressBar:
            stack.close()
            return stack.enter_context(ProgressBar(description, console=console))

        bar = new_bar("verified" if verify else "scans")

        def show_verified(count: int, total: int) -> None:
            nonlocal bar
            bar.update(count, total=total)
            if count == total:
                bar = new_bar("scans")

        prepared = run(
            src,
            layout=layout,
            out=out,
            preprocess=config,
            reconstruction=choice,
            split_seed=split_seed,
            dev_share=dev_share,
            keep_ids=keep_identifiers,
            derived=derived,
            site_key=site_key,
            metadata=read_arguments.metadata,
            hu=read_arguments.hu,
            series=series or (),
            min_slices=read_arguments.min_slices,
            uneven=read_arguments.uneven,
            encoding=read_arguments.encoding,
            labeller=RuleLabeller() if label else None,
            only=only,
            prune=prune,
            verify=verify,
            retry=retry,
            workers=workers or os.cpu_count() or 1,
            progress=lambda progress: _show(progress, bar, console),
            verifying=show_verified,
        )
    _say(console, prepared, out)
    if not prepared.volumes or (fail_on_refused and prepared.refused):
        raise typer.Exit(1)


def _settings_file(named: Path) -> Path:
    """Return the file of a model's folder, of the published file that was imported under this name, or of a configuration."""
    from thoracle.inference.model_locations import locate
    from thoracle.training.engine.config import locate_config

    file = locate(named) / "config.json"
    return file if file.is_file() else locate_config(named)


def _show(progress: PrepareProgress, bar: ProgressBar, console: Console) -> None:
    """Print a refusal as it comes, and count the volume."""
    from rich.markup import escape

    outcome = progress.outcome
    if outcome.error:
        console.print(f"[red]{escape(outcome.volume)}[/]: {outcome.error}: {escape(outcome.message)}")
    bar.update(progress.completed, total=progress.total)


def _say(console: Console, prepared: PreparationSummary, out: Path) -> None:
    from rich.markup import escape

    from thoracle.types import RESEARCH_USE

    for note in prepared.notes:
        console.print(escape(note))
    if prepared.absent:
        console.print(f"{prepared.absent:,} volumes are in a table and not in the folder; quality.csv names them.")
    console.print(f"{prepared.volumes:,} volumes of {prepared.slices:,} slices, {prepared.refused:,} refused: {escape(str(out))}")
    console.print(RESEARCH_USE)

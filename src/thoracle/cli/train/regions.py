"""Fit a model that reads findings place by place on another model's patches: `thoracle train regions`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoracle.cli.options import Device, Only
from thoracle.cli.train import train

if TYPE_CHECKING:
    from rich.console import Console

    from thoracle.training.regions.run import RegionsFit


@train.command()
def regions(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder of the encoder: a CT-CLIP, a classifier or a MedFinder.")],
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="What `thoracle prepare` wrote, with labels.")],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The new model folder.")],
    only: Only = None,
    components: Annotated[
        int, typer.Option(min=1, help="Most numbers of a patch that are used; more are reduced to so many principal components.")
    ] = 64,
    average_prompts: Annotated[
        bool, typer.Option("--average-prompts", help="A probability is the mean of the regions' and of that of MODEL's own prompts.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Fit findings to places of the chest, from labels of scans alone. Ends with DIR, which `thoracle detect` takes.

    Split train is fitted to; probabilities are calibrated on split dev, which is scored too. Nothing else of the cohort is read.
    """
    from dataclasses import replace

    from rich.console import Console

    from thoracle.cli.progress import ProgressBar
    from thoracle.cohort.manifest import open_cohort
    from thoracle.inference.modules import device_of
    from thoracle.training.engine.distributed import distributed_context
    from thoracle.training.regions.run import RegionsSettings, fit_regions

    console = Console(stderr=True, highlight=False)
    opened = open_cohort(cohort, only=only)
    if opened.selection:
        console.print(opened.selection, markup=False)
    with distributed_context() as world, ProgressBar("scans", console=console, rate="", transient=True) as bar:
        console.quiet = world.rank > 0
        fit = fit_regions(
            str(model),
            opened,
            out,
            settings=RegionsSettings(components=components, average_prompts=average_prompts),
            world=world if world.size > 1 else replace(world, device=device_of(device)),
            progress=lambda what, count, total: bar.update(count, total=total, description=what),
        )
    if world.rank == 0:
        _calibrate(fit, console)


def _calibrate(fit: RegionsFit, console: Console) -> None:
    """Save what probabilities mean on split dev, and say what was left out and how findings are told."""
    import numpy as np

    from thoracle.errors import InputError
    from thoracle.evaluation.detection.fit_calibration import COVERAGE, fit_calibration
    from thoracle.evaluation.detection.summary import Scores
    from thoracle.inference.calibration import save_calibration
    from thoracle.types import RESEARCH_USE

    for note in fit.notes:
        console.print(note, markup=False)
    scores = Scores(
        names=tuple(entry.volume for entry in fit.entries),
        patients=tuple(entry.patient for entry in fit.entries),
        labels=fit.folder.labels,
        probabilities_NK=fit.probabilities_SK,
        truth_NK=fit.truth_SK,
    )
    try:
        calibration = fit_calibration(
            scores,
            method="platt",
            coverage=COVERAGE,
            weights_sha256=fit.folder.weights_sha256,
            prompts=fit.folder.prompts,
            fitted_on=f"split dev: {len(fit.entries):,} volumes",
        )
    except InputError as error:
        console.print(f"What its probabilities mean is not known: {error}", markup=False)
    else:
        save_calibration(fit.folder.path, calibration)
    for name, value in fit.aurocs.items():
        console.print(f"{name}: AUROC {value:.3f} on split dev", markup=False)
    if fit.entries:
        console.print(
            f"Macro average: {np.nanmean([*fit.aurocs.values()]):.3f} on {len(fit.entries):,} volumes of split dev.", markup=False
        )
    console.print(f"{fit.folder.path}\n{RESEARCH_USE}", markup=False)

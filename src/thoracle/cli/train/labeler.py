"""`thoracle train labeler`: a configuration and a table of labelled reports become a report classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoracle.cli.train import train
from thoracle.cli.train.options import Cohort, Config, Out, Overrides, Resume

if TYPE_CHECKING:
    from thoracle.cohort.reports import Section
    from thoracle.training.labeler import LabelledText


@train.command()
def labeler(
    *,
    config: Config,
    reports: Annotated[Path | None, typer.Option(metavar="FILE", help="Table with labels; in place of the setting.")] = None,
    cohort: Cohort = None,
    start: Annotated[
        str | None, typer.Option(metavar="DIR", help="Pretrained encoder: a folder, or owner/name on the hub; in place of the setting.")
    ] = None,
    text_column: Annotated[list[str] | None, typer.Option(metavar="NAME", help="The report's column; give it again to join more.")] = None,
    id_column: Annotated[str, typer.Option(metavar="NAME", help="What a report is called.")] = "AccessionNo",
    out: Out = None,
    overrides: Overrides = None,
    resume: Resume = False,
) -> None:
    """Teach a transformer the 18 labels of reports. Ends with DIR/model, which `thoracle label --model` takes.

    A fifth of the reports is not trained on: off it are read the best checkpoint, thresholds, and how far to trust the network beside the
    rules. A run that was stopped, in whatever way, goes on with --resume as if it had not been.
    """
    from thoracle.cli.train.encoder import fetched
    from thoracle.cli.train.progress import follow
    from thoracle.training.config import load_config
    from thoracle.training.distributed import join
    from thoracle.training.labeler import LabelerConfig
    from thoracle.training.runs import labeler_run

    settings = load_config(config, LabelerConfig, overrides=overrides or ())
    settings = replace(settings, reports=str(reports or settings.reports), cohort="" if reports else str(cohort or settings.cohort))
    settings = replace(settings, out=str(out or settings.out), init_from=fetched(start or settings.init_from))
    texts = _cohort_texts(settings.cohort, settings.section) if settings.cohort else _texts(Path(settings.reports), text_column, id_column)
    with join() as world:
        follow(labeler_run(settings, texts, world, resume=resume), quiet=world.rank > 0)
        if world.rank == 0:
            _weigh(Path(settings.out), texts)


def _texts(path: Path, text_column: list[str] | None, id_column: str) -> list[LabelledText]:
    """Reports that can be read; those that cannot are left out of training as they are out of labelling."""
    from thoracle.evaluation.labeler import read_labelled
    from thoracle.inference.label.tables import TEXT_COLUMN, ReportTable
    from thoracle.training.labeler import LabelledText
    from thoracle.types import ABNORMALITIES

    table = ReportTable(path=path, id_column=id_column, text_columns=text_column or (TEXT_COLUMN,), also=ABNORMALITIES)
    return [LabelledText(name=row.id, text=row.text, labels=labels) for row, labels in read_labelled(table)]


def _cohort_texts(cohort: str, section: Section) -> list[LabelledText]:
    """Of scans that are trained on; a scan of several volumes has one report."""
    from thoracle.cohort.dataset import CohortDataset
    from thoracle.training.labeler import LabelledText

    scans = {entry.scan: entry for entry in CohortDataset(cohort, split="train", section=section, needs=["report"]).entries}
    return [LabelledText(name=scan, text=entry.report.text(section), labels=entry.labels) for scan, entry in scans.items()]


def _weigh(out: Path, reports: list[LabelledText]) -> None:
    from rich.console import Console

    from thoracle.errors import InputError
    from thoracle.evaluation.labelling import fit_labelling
    from thoracle.inference.label.classifier import ClassifierLabeller
    from thoracle.inference.label.labelling import keep_labelling
    from thoracle.training.folder import MODEL
    from thoracle.training.labeler import Texts
    from thoracle.types import RESEARCH_USE

    _, validation = Texts.split(reports)
    console = Console(stderr=True, highlight=False)
    texts, labels = [one.text for one in validation.reports], [one.labels for one in validation.reports]
    try:
        labelling = fit_labelling(ClassifierLabeller(out / MODEL), texts, labels)
    except InputError as error:
        console.print(f"How far to trust it beside the rules is not known: {error}\n{RESEARCH_USE}", markup=False)
        return
    keep_labelling(out / MODEL, labelling)
    better = [name for name, one in labelling.decisions.items() if one.f1_classifier > one.f1_rules]
    console.print(
        f"On {labelling.fitted_on} it was not trained on, it does better than rules for {len(better)} of 18 labels.", markup=False
    )
    console.print(RESEARCH_USE)

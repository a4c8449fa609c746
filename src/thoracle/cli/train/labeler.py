"""Train a report classifier on labelled reports: `thoracle train labeler`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from thoracle.cli.options import Encoding
from thoracle.cli.train.command import Run, TrainTask, add_command, setting

if TYPE_CHECKING:
    from thoracle.training.labeler.task import LabelerConfig, LabelledReportText


def _config() -> type[LabelerConfig]:
    from thoracle.training.labeler.task import LabelerConfig

    return LabelerConfig


def _override(config: LabelerConfig, values: Mapping[str, Any]) -> LabelerConfig:
    """Read a table in place of a cohort where one is named, and fetch an encoder that is named as on the hub."""
    from thoracle.cli.train.encoder import fetched

    config = replace(config, **{**values, "cohort": ""} if "reports" in values else values)
    return replace(config, init_from=fetched(config.init_from))


def _prepare(config: LabelerConfig, *, text_column: list[str] | None, id_column: str, encoding: str) -> Run:
    from thoracle.errors import InputError
    from thoracle.training.labeler.run import labeler_run
    from thoracle.training.labeler.task import ReportDataset

    if config.only and not config.cohort:
        raise InputError("--only takes volumes of a prepared cohort", hint="Give --cohort, or a shorter table of reports.")
    if config.cohort:
        reports, validation = _cohort_reports(config)
    else:
        sides = ReportDataset.split(_table_reports(Path(config.reports), text_column, id_column, encoding))
        reports, validation = (side.reports for side in sides)
    return Run(
        start=lambda world, resume: labeler_run(config, reports, world, validation=validation, resume=resume),
        finish=lambda: _save_decision_rule(Path(config.out), validation),
    )


def _table_reports(path: Path, text_column: list[str] | None, id_column: str, encoding: str) -> list[LabelledReportText]:
    """Read the reports of a table; those that cannot be read are left out of training as they are out of labelling."""
    from thoracle.evaluation.labeler.evaluate import read_labelled
    from thoracle.inference.labeler.report_table import TEXT_COLUMN, ReportTable
    from thoracle.training.labeler.task import LabelledReportText
    from thoracle.types import ABNORMALITIES

    columns = tuple(text_column or (TEXT_COLUMN,))
    table = ReportTable(path=path, id_column=id_column, text_columns=columns, encoding=encoding, also=ABNORMALITIES)
    return [LabelledReportText(name=row.id, text=row.text, labels=labels) for row, labels in read_labelled(table)]


def _cohort_reports(config: LabelerConfig) -> tuple[tuple[LabelledReportText, ...], tuple[LabelledReportText, ...]]:
    """Read the reports of split train, and those of split dev that are not word for word among them; a scan's volumes have one report.

    Raises:
        InputError: no report in split train.
    """
    from thoracle.cohort.manifest import open_cohort
    from thoracle.errors import InputError
    from thoracle.training.labeler.task import LabelledReportText

    reports: dict[str, dict[str, LabelledReportText]] = {"train": {}, "dev": {}}
    for entry in open_cohort(config.cohort, only=config.only).entries:
        if entry.split in reports and (text := entry.report.text(config.section)):
            reports[entry.split][entry.scan] = LabelledReportText(name=entry.scan, text=text, labels=entry.labels)
    training = tuple(reports["train"].values())
    if not training:
        raise InputError("no volume with report in split 'train'", hint="Give a cohort that has some.", source=config.cohort)
    texts = {report.text.strip() for report in training}
    return training, tuple(report for report in reports["dev"].values() if report.text.strip() not in texts)


def _save_decision_rule(out: Path, validation: Sequence[LabelledReportText]) -> None:
    """Fit on reports that were not trained on how far to trust the network beside the rules, and save it with the model."""
    from rich.console import Console

    from thoracle.errors import InputError
    from thoracle.evaluation.labeler.fit_decision import fit_labelling
    from thoracle.inference.labeler.classifier import ClassifierLabeller
    from thoracle.inference.labeler.decision import save_decision_rule
    from thoracle.training.engine.run_folder import MODEL
    from thoracle.types import RESEARCH_USE

    console = Console(stderr=True, highlight=False)
    texts, labels = [report.text for report in validation], [report.labels for report in validation]
    try:
        rule = fit_labelling(ClassifierLabeller(out / MODEL), texts, labels)
    except InputError as error:
        console.print(f"How far to trust it beside the rules is not known: {error}\n{RESEARCH_USE}", markup=False)
        return
    save_decision_rule(out / MODEL, rule)
    better = [name for name, decision in rule.decisions.items() if decision.f1_classifier > decision.f1_rules]
    console.print(f"On {rule.fitted_on} it was not trained on, it does better than rules for {len(better)} of 18 labels.", markup=False)
    console.print(RESEARCH_USE)


LABELER: Final = TrainTask(
    name="labeler",
    help="""Teach a transformer the 18 labels of reports. Ends with DIR/model, which `thoracle label --model` takes.

    A cohort's split dev, or a fifth of a table's reports, is not trained on: off it are read the best checkpoint, thresholds, and how far
    to trust the network beside the rules. A run that was stopped, in whatever way, goes on with --resume as if it had not been.
    """,
    config=_config,
    prepare=_prepare,
    settings={
        "reports": setting("--reports", "FILE", "Table with labels", kind=Path),
        "init_from": setting("--start", "DIR", "Pretrained encoder: a folder, or owner/name on the hub"),
    },
    inputs={
        "text_column": (
            Annotated[list[str] | None, typer.Option(metavar="NAME", help="The report's column; give it again to join more.")],
            None,
        ),
        "id_column": (Annotated[str, typer.Option(metavar="NAME", help="What a report is called.")], "AccessionNo"),
        "encoding": (Encoding, "utf-8"),
    },
    override=_override,
)
add_command(LABELER)

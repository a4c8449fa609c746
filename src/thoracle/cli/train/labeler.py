"""Train a report classifier on labelled reports: `thoracle train labeler`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from thoracle.cli.options import Encoding
from thoracle.cli.train.command import Run, TrainTask, add_command, setting

if TYPE_CHECKING:
    from thoracle.training.engine.plan import RunPlan
    from thoracle.training.labeler.task import LabelerConfig, LabelledReportText


def _config() -> type[LabelerConfig]:
    from thoracle.training.labeler.task import LabelerConfig

    return LabelerConfig


def _override(config: LabelerConfig, values: Mapping[str, Any]) -> LabelerConfig:
    """Read a table in place of a cohort where one is named, and fetch an encoder that is named as on the hub."""
    from thoracle.cli.train.encoder import fetched

    config = replace(config, **{**values, "cohort": ""} if "reports" in values else values)
    return replace(config, init_from=fetched(config.init_from))


def _open_reports(config: LabelerConfig, *, text_column: list[str] | None, id_column: str, encoding: str) -> list[LabelledReportText]:
    from thoracle.errors import InputError

    if config.only and not config.cohort:
        raise InputError("--only takes volumes of a prepared cohort", hint="Give --cohort, or a shorter table of reports.")
    return _cohort_reports(config) if config.cohort else _table_reports(Path(config.reports), text_column, id_column, encoding)


def _prepare(config: LabelerConfig, **inputs: Any) -> Run:
    from thoracle.training.labeler.run import labeler_run

    reports = _open_reports(config, **inputs)
    return Run(
        start=lambda world, resume: labeler_run(config, reports, world, resume=resume),
        finish=lambda: _save_decision_rule(Path(config.out), reports),
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


def _cohort_reports(config: LabelerConfig) -> list[LabelledReportText]:
    """Read the reports of the scans that are trained on; a scan of several volumes has one report."""
    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.samples.dataset import CohortDataset
    from thoracle.training.labeler.task import LabelledReportText

    cohort, section = open_cohort(config.cohort, only=config.only), config.section
    scans = {entry.scan: entry for entry in CohortDataset(cohort, split="train", section=section, needs=["report"]).entries}
    return [LabelledReportText(name=scan, text=entry.report.text(section), labels=entry.labels) for scan, entry in scans.items()]


def _save_decision_rule(out: Path, reports: list[LabelledReportText]) -> None:
    """Fit on reports that were not trained on how far to trust the network beside the rules, and save it with the model."""
    from rich.console import Console

    from thoracle.errors import InputError
    from thoracle.evaluation.labeler.fit_decision import fit_labelling
    from thoracle.inference.labeler.classifier import ClassifierLabeller
    from thoracle.inference.labeler.decision import save_decision_rule
    from thoracle.training.engine.run_folder import MODEL
    from thoracle.training.labeler.task import ReportDataset
    from thoracle.types import RESEARCH_USE

    _, validation = ReportDataset.split(reports)
    console = Console(stderr=True, highlight=False)
    texts, labels = [report.text for report in validation.reports], [report.labels for report in validation.reports]
    try:
        rule = fit_labelling(ClassifierLabeller(out / MODEL), texts, labels)
    except InputError as error:
        console.print(f"How far to trust it beside the rules is not known: {error}\n{RESEARCH_USE}", markup=False)
        return
    save_decision_rule(out / MODEL, rule)
    better = [name for name, decision in rule.decisions.items() if decision.f1_classifier > decision.f1_rules]
    console.print(f"On {rule.fitted_on} it was not trained on, it does better than rules for {len(better)} of 18 labels.", markup=False)
    console.print(RESEARCH_USE)


def _plan(config: LabelerConfig, ranks: int, local_ranks: int, **inputs: Any) -> RunPlan:
    from thoracle.training.labeler.plan import plan_labeler
    from thoracle.training.labeler.task import ReportDataset

    training, _ = ReportDataset.split(_open_reports(config, **inputs))
    return plan_labeler(config, reports=len(training), ranks=ranks, local_ranks=local_ranks)


LABELER: Final = TrainTask(
    name="labeler",
    help="""Teach a transformer the 18 labels of reports. Ends with DIR/model, which `thoracle label --model` takes.

    A fifth of the reports is not trained on: off it are read the best checkpoint, thresholds, and how far to trust the network beside the
    rules. A run that was stopped, in whatever way, goes on with --resume as if it had not been.
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
    plan=_plan,
)
add_command(LABELER)

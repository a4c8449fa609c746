"""`thoracle evaluate labeler`: how well reports are labelled, and where two parties differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoracle.cli.evaluate import evaluate
from thoracle.cli.llm_options import LlmModel, MaxTokens, Timeout, open_server

if TYPE_CHECKING:
    from rich.console import Console

    from thoracle.evaluation.detection.summary import Summary
    from thoracle.inference.labeler.report_table import ReportTable
    from thoracle.metrics.bootstrap import Interval


@evaluate.command()
def labeler(
    reports: Annotated[Path, typer.Argument(metavar="REPORTS", help="A table of reports with the columns of the 18 abnormalities.")],
    *,
    backend: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="auto, rules, classifier or llm; give it again to compare several.")
    ] = None,
    model: Annotated[Path | None, typer.Option("--model", metavar="DIR", help="A report classifier, trained or imported.")] = None,
    llm_url: Annotated[str | None, typer.Option(metavar="URL", help="llm: an OpenAI-compatible server.")] = None,
    llm_model: LlmModel = None,
    timeout: Timeout = 120.0,
    max_tokens: MaxTokens = 1024,
    out: Annotated[Path | None, typer.Option(metavar="JSON", help="Gets every figure with its interval.")] = None,
    disagreements: Annotated[
        Path | None, typer.Option(metavar="HTML", help="Gets every report on which two parties differ, with their evidence and its words.")
    ] = None,
    save_decision_rule: Annotated[
        bool, typer.Option("--save-decision-rule", help="Fit the classifier's thresholds to these reports, and keep them in its folder.")
    ] = False,
    no_reference: Annotated[bool, typer.Option("--no-reference", help="The table has no labels: compare backends only.")] = False,
    text_column: Annotated[list[str] | None, typer.Option(metavar="NAME", help="The report's column; give it again to join more.")] = None,
    id_column: Annotated[str, typer.Option(metavar="NAME", help="What a report is called.")] = "AccessionNo",
    encoding: Annotated[str, typer.Option(help="Of CSV and JSON lines.")] = "utf-8",
    resamples: Annotated[int, typer.Option(min=1, help="Draws of reports, for the intervals.")] = 1000,
) -> None:
    """Label reports whose labels are known: precision, recall and F1 of each abnormality with intervals, macro, micro and weighted.

    Exit status: 0 all well, 1 a table or model failed, 2 the command was wrong.
    """
    from rich.console import Console

    from thoracle.evaluation.labeler.disagreements import disagreements as draw
    from thoracle.evaluation.labeler.evaluate import label_all
    from thoracle.evaluation.labeler.report import labeler_json
    from thoracle.files.atomic import write_atomic
    from thoracle.files.json_file import write_json
    from thoracle.inference.labeler.backends import open_labeller
    from thoracle.inference.labeler.report_table import TEXT_COLUMN, ReportTable
    from thoracle.types import ABNORMALITIES, RESEARCH_USE

    console = Console(highlight=False)
    also = () if no_reference else ABNORMALITIES
    table = ReportTable(path=reports, id_column=id_column, text_columns=text_column or (TEXT_COLUMN,), encoding=encoding, also=also)
    if save_decision_rule:
        _save_decision_rule(table, model)
    names = dict.fromkeys(backend or ["auto"])
    client = open_server(llm_url, model=llm_model, timeout=timeout) if "llm" in names and llm_url is not None else None
    labelled = label_all(table, {name: open_labeller(name, model=model, client=client, max_tokens=max_tokens) for name in names})
    summaries = {}
    for name in names if not no_reference else ():
        summaries[name] = labelled.summary(name, resamples=resamples)
        _show(console, name, *summaries[name], len(labelled.rows))
    if out is not None:
        write_json(out, labeler_json(summaries, reports=len(labelled.rows)), indent=2)
    if disagreements is not None:
        write_atomic(disagreements, draw(labelled), private=True)
        console.print(f"{disagreements} holds words of the reports.", markup=False)
    console.print(RESEARCH_USE)


def _save_decision_rule(table: ReportTable, model: Path | None) -> None:
    from thoracle.errors import InputError
    from thoracle.evaluation.labeler.evaluate import read_labelled
    from thoracle.evaluation.labeler.fit_decision import fit_labelling
    from thoracle.inference.labeler.classifier import ClassifierLabeller
    from thoracle.inference.labeler.decision import save_decision_rule

    if model is None or not table.also:
        raise InputError("thresholds need a classifier and reports with labels", hint="Give --model, and no --no-reference.")
    labelled = read_labelled(table)
    fitted = fit_labelling(ClassifierLabeller(model), [row.text for row, _ in labelled], [labels for _, labels in labelled])
    save_decision_rule(model, fitted)


def _show(console: Console, name: str, summary: Summary, count: int, total: int) -> None:
    from rich.table import Table

    from thoracle.evaluation.labeler.report import AVERAGE_METRICS, LABEL_METRICS

    table = Table(
        box=None, pad_edge=False, header_style="", title=f"{name}: {count:,} reports, {total - count:,} unknown", title_justify="left"
    )
    table.add_column("")
    for column in LABEL_METRICS:
        table.add_column(column, justify="right")
    for label, metrics in summary.by_label.items():
        table.add_row(label, *(_with_bounds(metrics[column]) for column in LABEL_METRICS))
    console.print(table)
    for metric in AVERAGE_METRICS:
        console.print(f"{metric:16} {_with_bounds(summary.average[metric])}", markup=False)


def _with_bounds(interval: Interval) -> str:
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"

"""`thoracle label`: a table of reports becomes a table of the 18 labels, with the reason for each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thoracle.cli.app import app
from thoracle.cli.llm_options import LlmModel, MaxTokens, Timeout, open_server

if TYPE_CHECKING:
    from rich.console import Console

    from thoracle.inference.labeler.runner import LabelProgress

Backend = Literal["auto", "rules", "classifier", "llm"]


@app.command()
def label(
    reports: Annotated[Path, typer.Argument(metavar="REPORTS", help="CSV, Excel (.xlsx) or JSON lines (.jsonl).")],
    *,
    out: Annotated[Path, typer.Option(metavar="CSV", help="A row a report: its id, and CT-RATE's column for each abnormality.")],
    evidence: Annotated[
        Path | None, typer.Option(metavar="JSONL", help="Gets for each label the sentence, the words, the rule and what denies them.")
    ] = None,
    backend: Annotated[Backend, typer.Option(help="auto takes rules, and with --model the better of both for each label.")] = "auto",
    model: Annotated[Path | None, typer.Option("--model", metavar="DIR", help="A report classifier, trained or imported.")] = None,
    llm_url: Annotated[str | None, typer.Option(metavar="URL", help="llm: an OpenAI-compatible server, http://localhost:8000/v1.")] = None,
    llm_model: LlmModel = None,
    timeout: Timeout = 120.0,
    max_tokens: MaxTokens = 1024,
    text_column: Annotated[list[str] | None, typer.Option(metavar="NAME", help="The report's column; give it again to join more.")] = None,
    id_column: Annotated[str, typer.Option(metavar="NAME", help="What a report is called.")] = "AccessionNo",
    encoding: Annotated[str, typer.Option(help="Of CSV and JSON lines.")] = "utf-8",
    rules: Annotated[
        Path | None,
        typer.Option("--rules", metavar="YAML", help="Abnormalities of your own in place of the 18; docs/label.md has the form."),
    ] = None,
    states: Annotated[
        bool, typer.Option("--states", help="Write stated, denied, uncertain and not mentioned in place of 1 and 0.")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes for rules; as many as cores by default.")] = None,
) -> None:
    """Label chest CT reports with the 18 abnormalities: 1 stated, 0 denied or not mentioned, nothing where the report cannot be read.

    Beside CSV comes CSV.run.json with what the labels depend on, and .unknown.csv with the reports that have no labels, and why. A run that
    was stopped goes on where it was when the same command is given again; what a server answered is in CSV.answers.jsonl, and paid once.

    Exit status: 0 all well, 1 a report was not labelled, 2 the command was wrong.
    """
    from rich.console import Console

    from thoracle.inference.labeler.backends import open_labeller
    from thoracle.inference.labeler.report_table import TEXT_COLUMN, ReportTable
    from thoracle.inference.labeler.runner import label_table
    from thoracle.inference.labeler.vocabulary import read_vocabulary
    from thoracle.types import ABNORMALITIES

    console = Console(stderr=True, highlight=False)
    table = ReportTable(path=reports, id_column=id_column, text_columns=text_column or (TEXT_COLUMN,), encoding=encoding)
    vocabulary = None if rules is None else read_vocabulary(rules)
    client = open_server(llm_url, model=llm_model, timeout=timeout) if backend == "llm" and llm_url is not None else None
    journal = out.with_name(f"{out.name}.answers.jsonl")
    labeller = open_labeller(backend, model=model, client=client, max_tokens=max_tokens, journal=journal, vocabulary=vocabulary)
    steps = label_table(
        table,
        labeller,
        out=out,
        evidence=evidence,
        workers=workers or os.cpu_count() or 1,
        abnormalities=ABNORMALITIES if vocabulary is None else vocabulary.abnormalities,
        states=states,
    )
    last = _follow(steps, console)
    _say(last, console, out)
    if last.unknown:
        raise typer.Exit(1)


def _follow(steps: Iterator[LabelProgress], console: Console) -> LabelProgress:
    from thoracle.cli.progress import ProgressBar

    with ProgressBar("reports", console=console, total=1.0, rate="min") as bar:
        for step in steps:
            bar.update(step.position, count=f"{step.completed:,}", processed=step.now)
    return step


def _say(last: LabelProgress, console: Console, out: Path) -> None:
    from rich.markup import escape

    from thoracle.types import RESEARCH_USE

    console.print(f"{last.completed:,} reports, {last.unknown:,} of them unknown: {escape(str(out))}")
    if last.unknown:
        console.print(f"{escape(str(out.with_suffix('.unknown.csv')))} says why.")
    if last.windowed:
        console.print(
            f"{last.windowed:,} reports are longer than the network reads at once: they were read in several windows, and not cut."
        )
    if last.formulas:
        console.print(f"{last.formulas:,} ids begin as a formula does: an apostrophe stands before them in {escape(out.name)}.")
    console.print(RESEARCH_USE)

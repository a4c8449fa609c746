"""`thoracle evaluate explanation`: whether a model's maps say where findings are, against phantoms' masks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thoracle.cli.evaluate import evaluate
from thoracle.cli.options import Device, Only, SplitName

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thoracle.evaluation.explanation.evaluate import LocalizationScores
    from thoracle.inference.explain import Method as Maps

Method = Literal["gradient", "occlusion", "attention"]


@evaluate.command()
def explanation(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder.")],
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="What `thoracle prepare` made of the phantoms.")],
    *,
    masks: Annotated[Path, typer.Option(metavar="PHANTOMS", help="What `thoracle phantom` wrote, with its masks/.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="explanation.html, explanation.json, a row a volume.")],
    method: Annotated[Method, typer.Option(help="As `thoracle explain` has them; occlusion takes hundreds of passes a scan.")] = "gradient",
    split: Annotated[SplitName, typer.Option(help="Whose volumes.")] = "valid",
    only: Only = None,
    limit: Annotated[int, typer.Option(min=1, help="Volumes, the first by name.")] = 3000,
    resamples: Annotated[int, typer.Option(min=1, help="Draws of patients.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    device: Device = "auto",
) -> None:
    """Score saliency against masks, beside random maps and the middle of the lungs; what does not beat them is said not to.

    A run that was stopped goes on where it was when the same command is given again.
    """
    from rich.console import Console

    from thoracle.cli.progress import follow
    from thoracle.cohort.manifest import open_cohort
    from thoracle.evaluation.explanation.evaluate import columns, measure, pending_masked, summarise, values_of, with_masks
    from thoracle.evaluation.explanation.masks import find_masks
    from thoracle.evaluation.explanation.report import explanation_json, write_page
    from thoracle.evaluation.predict import labelled_entries, require_same_input
    from thoracle.files.atomic import write_atomic
    from thoracle.files.json_file import write_json
    from thoracle.inference.batch.result_table import ResultTable
    from thoracle.inference.model import load

    console, prepared = Console(stderr=True, highlight=False), open_cohort(cohort, only=only)
    if prepared.selection:
        console.print(prepared.selection, markup=False)
    loaded = load(model, device=device)
    require_same_input(loaded, prepared)
    methods: Sequence[Maps] = (method,)
    paths = find_masks(masks)
    entries = with_masks(labelled_entries(prepared, {split}), paths)[:limit]
    settings = {**loaded.settings(), "methods": list(methods)}
    with ResultTable(out / "explanation.csv", columns=columns(methods), settings=settings) as table:
        todo = len(pending_masked(entries, table, paths))
        follow(measure(loaded, prepared, entries, table, methods=methods, masks=paths), total=todo, console=console)
    patients = [entry.patient for entry in entries]
    scores = summarise(values_of(table, entries, methods=methods), patients, methods=methods, resamples=resamples, seed=seed)
    notes = [f"{len(entries):,} volumes of {len(set(patients)):,} patients of split {split}; 95% intervals over patients."]
    notes += [] if loaded.folder.trained else ["UNTRAINED WEIGHTS: no figure on this page means anything."]
    notes += [loaded.folder.disclaimer] if loaded.folder.disclaimer else []
    facts = {"model": loaded.settings(), "split": split, "volumes": len(entries)}
    write_json(out / "explanation.json", explanation_json(scores, methods, facts=facts), indent=1)
    write_atomic(out / "explanation.html", write_page(scores, methods, notes=notes))
    _print(scores, methods, notes)
    console.print(str(out / "explanation.html"))


def _print(localization: Mapping[str, LocalizationScores], methods: Sequence[Maps], notes: Sequence[str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from thoracle.evaluation.explanation.evaluate import ALL, BASELINES
    from thoracle.evaluation.explanation.report import verdicts
    from thoracle.evaluation.html.page import with_bounds
    from thoracle.types import RESEARCH_USE

    printer = Console(highlight=False)
    for note in notes:
        printer.print(escape(note))
    shown = Table(box=None, pad_edge=False, header_style="")
    for column in ("mean over abnormalities", *methods, *BASELINES):
        shown.add_column(column)
    for metric, scores in localization[ALL].scores.items():
        shown.add_row(metric, *(with_bounds(interval.value, interval.low, interval.high) for interval in scores.values()))
    printer.print(shown)
    for sentence in verdicts(localization, methods):
        printer.print(sentence)
    printer.print(RESEARCH_USE)

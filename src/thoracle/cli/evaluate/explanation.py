"""`thoracle evaluate explanation`: whether a model's maps say where findings are, against phantoms' masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from thoracle.cli.evaluate import evaluate
from thoracle.cli.options import Device

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thoracle.evaluation.explanation import LocalizationScores
    from thoracle.inference.explain import Method as Maps

Method = Literal["gradient", "occlusion", "attention"]
Split = Literal["train", "valid", "test"]


@evaluate.command()
def explanation(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder.")],
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="What `thoracle prepare` made of the phantoms.")],
    *,
    masks: Annotated[Path, typer.Option(metavar="PHANTOMS", help="What `thoracle phantom` wrote, with its masks/.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="explanation.html, explanation.json, a row a volume.")],
    method: Annotated[Method, typer.Option(help="As `thoracle explain` has them; occlusion takes hundreds of passes a scan.")] = "gradient",
    split: Annotated[Split, typer.Option(help="Whose volumes.")] = "valid",
    most: Annotated[int, typer.Option(min=1, help="Volumes, the first by name.")] = 3000,
    resamples: Annotated[int, typer.Option(min=1, help="Draws of patients.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    device: Device = "auto",
) -> None:
    """Score saliency against masks, beside random maps and the middle of the lungs; what does not beat them is said not to.

    A run that was stopped goes on where it was when the same command is given again.
    """
    from rich.console import Console

    from thoracle.cli.evaluate.detection import follow
    from thoracle.cohort.manifest import open_cohort
    from thoracle.evaluation.explanation import columns, measure, summarise, values_of, with_masks
    from thoracle.evaluation.masks import find_masks
    from thoracle.evaluation.score import chosen, require_same_input
    from thoracle.inference.model import load
    from thoracle.inference.results import ResultTable

    console, prepared = Console(stderr=True, highlight=False), open_cohort(cohort)
    loaded = load(model, device=device)
    require_same_input(loaded, prepared)
    methods: Sequence[Maps] = (method,)
    paths = find_masks(masks)
    entries = with_masks(chosen(prepared, {split}), paths)[:most]
    table = ResultTable(out / "explanation.csv", columns=columns(methods), settings={**loaded.settings(), "methods": list(methods)})
    todo = sum(entry.volume not in table.rows for entry in entries)
    follow(measure(loaded, prepared, entries, table, methods=methods, masks=paths), total=todo, console=console)
    patients = [entry.patient for entry in entries]
    found = summarise(values_of(table, entries, methods=methods), patients, methods=methods, resamples=resamples, seed=seed)
    notes = [f"{len(entries):,} volumes of {len(set(patients)):,} patients of split {split}; 95% intervals over patients."]
    notes += [] if loaded.folder.trained else ["UNTRAINED WEIGHTS: no figure on this page means anything."]
    notes += [loaded.folder.caution] if loaded.folder.caution else []
    _write(found, methods, out, notes, facts={"model": loaded.settings(), "split": split, "volumes": len(entries)})
    _print(found, methods, notes)
    console.print(str(out / "explanation.html"))


def verdicts(found: Mapping[str, LocalizationScores], methods: Sequence[Maps]) -> list[str]:
    """A sentence for each method and metric: of how many abnormalities it beats both baselines, and of which it does not."""
    from thoracle.evaluation.explanation import ALL, BASELINES
    from thoracle.metrics.localization import METRICS

    sentences = []
    for method in methods:
        for metric in METRICS:
            worse = [label for label, one in found.items() if label != ALL and not one.beats(metric, method)]
            behind = [name for name, lead in found[ALL].lead[metric][method].items() if not lead.low > 0]
            together = f"DOES NOT BEAT {' and '.join(behind)}" if behind else f"beats {' and '.join(BASELINES)}"
            each = f"of {len(found) - 1} abnormalities it beats both in {len(found) - 1 - len(worse)}"
            without = f", and not in {', '.join(worse)}" if worse else ""
            sentences.append(f"{method}, {metric}: over all it {together}; {each}{without}.")
    return sentences


def _write(
    found: Mapping[str, LocalizationScores], methods: Sequence[Maps], out: Path, notes: Sequence[str], *, facts: dict[str, Any]
) -> None:
    from thoracle.evaluation.explanation import BASELINES
    from thoracle.evaluation.page import figure, heading, page, paragraph, table, with_bounds
    from thoracle.evaluation.plots import dots
    from thoracle.files import write_atomic
    from thoracle.metrics.localization import METRICS
    from thoracle.types import RESEARCH_USE

    maps, said = (*methods, *BASELINES), verdicts(found, methods)
    parts = [*(paragraph(note) for note in notes), heading("Do maps say where findings are?"), *(paragraph(one) for one in said)]
    for metric in METRICS:
        rows: list[list[object]] = []
        for label, one in found.items():
            cells = [with_bounds(i.value, i.low, i.high) for i in one.scores[metric].values()]
            better = ["beats both" if one.beats(metric, method) else "does not" for method in methods]
            rows.append([label, one.volumes, *cells, *better])
        series = {name: [one.scores[metric][name] for one in found.values()] for name in maps}
        parts += [heading(metric), table(["", "volumes", *maps, *(f"{m}: beats both?" for m in methods)], rows)]
        parts.append(figure(dots(list(found), series, x=metric)))
    values = {"notice": RESEARCH_USE, **facts, "verdicts": said, "found": {label: one.as_dict() for label, one in found.items()}}
    plain = json.loads(json.dumps(values), parse_constant=lambda _: None)  # NaN is null
    write_atomic(out / "explanation.json", (json.dumps(plain, indent=1) + "\n").encode())
    write_atomic(out / "explanation.html", page("Explanations against masks", parts))


def _print(found: Mapping[str, LocalizationScores], methods: Sequence[Maps], notes: Sequence[str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from thoracle.evaluation.explanation import ALL, BASELINES
    from thoracle.evaluation.page import with_bounds
    from thoracle.types import RESEARCH_USE

    printer = Console(highlight=False)
    for note in notes:
        printer.print(escape(note))
    shown = Table(box=None, pad_edge=False, header_style="")
    for column in ("mean over abnormalities", *methods, *BASELINES):
        shown.add_column(column)
    for metric, scores in found[ALL].scores.items():
        shown.add_row(metric, *(with_bounds(one.value, one.low, one.high) for one in scores.values()))
    printer.print(shown)
    for sentence in verdicts(found, methods):
        printer.print(sentence)
    printer.print(RESEARCH_USE)

"""`thoracle evaluate explanation`: whether a model's maps say better than an atlas where findings are, against phantoms' masks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thoracle.cli.evaluate import evaluate
from thoracle.cli.options import Device, Only

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from thoracle.cohort.manifest import CohortEntry
    from thoracle.evaluation.explanation.summary import LocalizationScores
    from thoracle.inference.model import Model

Method = Literal["gradient", "occlusion", "similarity", "attention", "regions"]
#: Not train, whose masks the atlases are made of.
Scored = Literal["dev", "valid", "test"]


@evaluate.command()
def explanation(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder.")],
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="What `thoracle prepare` made of the phantoms.")],
    *,
    masks: Annotated[Path, typer.Option(metavar="PHANTOMS", help="What `thoracle phantom` wrote, with its masks/ and truth/.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="explanation.html, explanation.json, a row a volume, the atlases.")],
    method: Annotated[Method, typer.Option(help="As `thoracle explain` has them; occlusion takes hundreds of passes a scan.")] = "gradient",
    split: Annotated[Scored, typer.Option(help="Whose volumes; atlases are made of split train.")] = "valid",
    save_localization: Annotated[
        bool, typer.Option("--save-localization", help="Into the model's folder, for `thoracle explain`.")
    ] = False,
    only: Only = None,
    limit: Annotated[int, typer.Option(min=1, help="Volumes, the first by name.")] = 3000,
    resamples: Annotated[int, typer.Option(min=1, help="Draws of patients.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    device: Device = "auto",
) -> None:
    """Score saliency against masks, beside atlases of where findings usually lie; what does not beat the better of them is said not to.

    A run that was stopped goes on where it was when the same command is given again.
    """
    from rich.console import Console

    from thoracle.cli.progress import follow
    from thoracle.cohort.manifest import open_cohort
    from thoracle.evaluation.explanation.atlas import ATLASES_FILE, cached_atlases, fingerprint, training_entries
    from thoracle.evaluation.explanation.evaluate import columns, map_grid, map_reader, measure, pending_masked, values_of, with_masks
    from thoracle.evaluation.explanation.masks import find_masks
    from thoracle.evaluation.explanation.phantom_truth import read_truth, require_same_phantoms
    from thoracle.evaluation.explanation.report import explanation_json, write_page
    from thoracle.evaluation.explanation.summary import measured_method, summarise
    from thoracle.evaluation.html.page import terms
    from thoracle.evaluation.predict import labelled_entries, require_same_input
    from thoracle.files.atomic import write_atomic
    from thoracle.files.json_file import write_json
    from thoracle.inference.batch.result_table import ResultTable
    from thoracle.inference.localization.measured import save_localization as write_localization
    from thoracle.inference.model import load

    console, prepared = Console(stderr=True, highlight=False), open_cohort(cohort, only=only)
    if prepared.selection:
        console.print(prepared.selection, markup=False)
    loaded = load(model, device=device)
    require_same_input(loaded, prepared)
    paths = find_masks(masks)
    entries = with_masks(labelled_entries(prepared, {split}), paths)[:limit]
    training, truth = training_entries(open_cohort(cohort), paths), read_truth(masks)
    require_same_phantoms(entries, truth)
    settings = {**loaded.settings(), "method": method, "atlas": fingerprint(training, paths)}
    with ResultTable(out / "explanation.csv", columns=columns(method), settings=settings) as table:
        if pending := pending_masked(entries, table, paths):
            grid = map_grid(loaded, prepared, pending, method)
            read_maps = map_reader(loaded, prepared, method, grid, masks=paths)
            with console.status("atlas") as status:
                atlases = cached_atlases(
                    out / ATLASES_FILE,
                    training,
                    paths,
                    preprocess=prepared.preprocess,
                    grid=grid,
                    progress=lambda count, of: status.update(f"atlas of {count:,} of {of:,} masks"),
                )
            rows = measure(entries, table, read_maps=read_maps, atlases=atlases, masks=paths, truth=truth, cohort=prepared)
            follow(rows, total=len(pending), console=console)
        values, correct = values_of(table, entries)
    patients = [entry.patient for entry in entries]
    scores = summarise(values, patients, method=method, resamples=resamples, seed=seed)
    source = f"{len(entries):,} volumes of {len(set(patients)):,} phantom patients of split {split}"
    measured = measured_method(scores, correct, measured_on=source)
    notes = [f"{source}, atlases of {len(training):,} training masks; 95% intervals over patients.", *_notes(loaded, [*entries, *training])]
    facts = {"model": loaded.settings(), "method": method, "split": split, "volumes": len(entries), "training_masks": len(training)}
    write_json(out / "explanation.json", explanation_json(scores, method, measured=measured, facts=facts), indent=1)
    shown = [*notes, *terms(loaded.settings())]
    write_atomic(out / "explanation.html", write_page(scores, method, measured=measured, notes=shown))
    _print(scores, method, notes)
    if save_localization:
        write_localization(loaded.folder.path, weights_sha256=loaded.folder.weights_sha256, method=method, measured=measured)
        console.print(f"Leads kept in {model}; thoracle explain says them from now on.", markup=False)
    console.print(str(out / "explanation.html"), markup=False)


def _notes(model: Model, entries: Sequence[CohortEntry]) -> list[str]:
    notes = []
    unboxed = sum(entry.box is None or entry.box.encloses != "lungs" for entry in entries)
    if unboxed:
        hint = "prepare the cohort anew for it" if unboxed == len(entries) else "there the atlas of the scan's grid stands in"
        notes.append(f"{unboxed:,} of {len(entries):,} volumes have no box of lungs: {hint}.")
    if not model.folder.trained:
        notes.append("UNTRAINED WEIGHTS: no figure on this page means anything.")
    return [*notes, *filter(None, [model.folder.disclaimer])]


def _print(localization: Mapping[str, LocalizationScores], method: Method, notes: Sequence[str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from thoracle.evaluation.explanation.evaluate import sources
    from thoracle.evaluation.explanation.report import verdicts
    from thoracle.evaluation.explanation.summary import ALL
    from thoracle.metrics.localization import METRICS
    from thoracle.types import RESEARCH_USE

    printer = Console(highlight=False)
    for note in notes:
        printer.print(escape(note))
    shown = Table(box=None, pad_edge=False, header_style="")
    for column in ("mean over abnormalities", *METRICS):
        shown.add_column(column)
    for name in sources(method):
        shown.add_row(name, *(f"{localization[ALL].scores[metric][name].value:.3f}" for metric in METRICS))
    printer.print(shown)
    for sentence in verdicts(localization, method):
        printer.print(escape(sentence))
    printer.print(RESEARCH_USE)

"""`thoracle evaluate space`: how the latents of a cohort's images and reports lie, as figures, a map and pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thoracle.cli.evaluate import evaluate
from thoracle.cli.options import Device, Dtype, Only, SplitName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from thoracle.cohort.manifest import Cohort, CohortEntry
    from thoracle.evaluation.latent_space.evaluate import SpaceEvaluation
    from thoracle.inference.model import Model
    from thoracle.types import FloatArray

Section = Literal["findings", "impression", "both"]


@evaluate.command()
def space(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder.")],
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="What `thoracle prepare` wrote.")],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="space.html, space.json, PNGs, latents.")],
    split: Annotated[SplitName, typer.Option(help="Whose scans.")] = "valid",
    only: Only = None,
    section: Annotated[Section, typer.Option(help="Which of the report's words.")] = "findings",
    limit: Annotated[int, typer.Option(min=3, help="Scans, the first by name.")] = 3000,
    truth: Annotated[Path | None, typer.Option(metavar="PHANTOMS", help="What `thoracle phantom` wrote: how severe findings are.")] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Draws of patients.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    device: Device = "auto",
    dtype: Dtype = "float32",
) -> None:
    """Draw the latents of images and reports by t-SNE and PCA, and measure alignment, uniformity, order, hierarchy and more.

    One volume of each scan with a report is taken. A run that was stopped goes on where it was.
    """
    import numpy as np
    from rich.console import Console

    from thoracle.cohort.manifest import open_cohort
    from thoracle.evaluation.explanation.phantom_truth import read_severity
    from thoracle.evaluation.html.page import terms
    from thoracle.evaluation.latent_space.evaluate import evaluate_space, prompt_margins, truth_of
    from thoracle.evaluation.latent_space.report import report_files, space_json
    from thoracle.evaluation.predict import first_volume_per_scan, require_same_input
    from thoracle.files.atomic import write_atomic
    from thoracle.files.json_file import write_json
    from thoracle.inference.model import load
    from thoracle.models.encoder import Capability
    from thoracle.types import ABNORMALITIES

    console, prepared = Console(stderr=True, highlight=False), open_cohort(cohort, only=only)
    if prepared.selection:
        console.print(prepared.selection, markup=False)
    loaded = load(model, device=device, dtype=dtype)
    require_same_input(loaded, prepared)
    entries = first_volume_per_scan(prepared, split=split, section=section)[:limit]
    text = loaded.encode_text([entry.report.text(section) for entry in entries]).cpu().numpy().astype(np.float64)
    image = embedded(loaded, prepared, entries, out=out, console=console)
    measured = evaluate_space(
        image,
        text,
        entries=entries,
        margins_NK=prompt_margins(loaded, image),
        severity=None if truth is None else read_severity(truth),
        resamples=resamples,
        seed=seed,
    )
    notes = [f"{len(entries):,} scans of split {split}, with their reports ({section})."]
    notes += [] if loaded.folder.trained else ["UNTRAINED WEIGHTS: no figure on this page means anything."]
    notes += [loaded.folder.disclaimer] if loaded.folder.disclaimer else []
    temperature = loaded.temperature if Capability.ZERO_SHOT in loaded.capabilities else None
    if temperature is not None:
        notes.append(f"Temperature {temperature:.3f}: a similarity is a cosine times its exponential, {math.exp(temperature):.2f}.")
    facts = {"model": loaded.settings(), "split": split, "section": section, "scans": len(entries), "temperature": temperature}
    with console.status("t-SNE and PCA"):
        names = [entry.scan for entry in entries]
        shown = [*notes, *terms(loaded.settings())]
        files = report_files(measured, image, text, names=names, truth_NK=truth_of(entries), labels=ABNORMALITIES, notes=shown)
    for name, content in files.items():
        write_atomic(out / name, content)
    document = space_json(measured, facts=facts)
    write_json(out / "space.json", document, indent=1)
    _print(measured, notes)
    console.print(str(out / "space.html"), markup=False)


def _print(measured: SpaceEvaluation, notes: list[str]) -> None:
    from rich.console import Console

    from thoracle.evaluation.latent_space.report import bounded, order_rows
    from thoracle.types import RESEARCH_USE

    printer, space = Console(highlight=False), measured.geometry
    for note in notes:
        printer.print(note, markup=False)
    for name in ("alignment", "modality_gap", "paired_cosine", "unpaired_cosine", "hubness_of_images", "hubness_of_texts"):
        printer.print(f"{name.replace('_', ' '):32}{bounded(getattr(space, name))}")
    for name in ("uniformity", "effective_rank"):
        for kind in ("image", "text", "even"):
            printer.print(f"{name.replace('_', ' ') + ', ' + kind:32}{bounded(getattr(getattr(space, kind), name))}")
    for name, value, _ in order_rows(measured):
        printer.print(f"{name:32}{value}")
    printer.print(RESEARCH_USE)


def embedded(model: Model, cohort: Cohort, entries: Sequence[CohortEntry], *, out: Path, console: Console) -> FloatArray:
    """Embed entries, or resume, as latents (N, L) in DIR/latents.rows.csv; write them as DIR/latents.parquet too."""
    import numpy as np

    from thoracle.cli.progress import follow
    from thoracle.evaluation.predict import embed, pending_entries
    from thoracle.inference.batch.result_table import ResultTable
    from thoracle.inference.latents import ROW_COLUMNS, read_latents, write_latents

    settings = {**model.settings(), "dim_latent": model.dim_latent}
    with ResultTable(out / "latents.rows.csv", columns=ROW_COLUMNS, settings=settings) as table:
        follow(embed(model, cohort, entries, table), total=len(pending_entries(entries, table)), console=console)
        write_latents(out / "latents.parquet", table, model_sha256=model.folder.weights_sha256)
    latents = read_latents(out / "latents.parquet")
    rows = {name: row for row, name in enumerate(latents.names)}
    return np.asarray(latents.array[[rows[entry.volume] for entry in entries]], dtype=np.float64)

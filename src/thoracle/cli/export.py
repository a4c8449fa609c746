"""`thoracle export`: a model folder with smaller weights, after its answers were compared with the model's own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thoracle.cli.app import app

if TYPE_CHECKING:
    from thoracle.cohort.manifest import Cohort
    from thoracle.evaluation.compression import Effect
    from thoracle.inference.model import Model
    from thoracle.models.compression import Compression

Split = Literal["train", "valid", "test"]
#: Of the mean AUROC: what falls further is not written.
MOST_LOST = 0.01


@app.command()
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder.")],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The new model folder.")],
    cohort: Annotated[Path, typer.Option(metavar="COHORT", help="Prepared scans with labels, on which answers are compared.")],
    int8: Annotated[bool, typer.Option("--int8", help="A byte a weight.")] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="Two bytes a weight.")] = False,
    split: Annotated[Split, typer.Option(help="Whose scans.")] = "valid",
    most: Annotated[int, typer.Option(min=1, help="Volumes, the first by name.")] = 3000,
) -> None:
    """Write a model with its matrices in fewer bytes, unless its AUROC falls by more than 0.01.

    It is opened as any model. Arithmetic stays float32: it is smaller on the disk, and as fast.
    """
    from thoracle.cohort.manifest import open_cohort
    from thoracle.errors import InputError, OutputConflict
    from thoracle.evaluation.score import require_same_input
    from thoracle.inference.model import load

    if int8 == bf16:
        raise InputError("expected one of --int8 and --bf16", cure="Give one of the two.")
    if out.exists():
        raise OutputConflict("exists", cure="Give a new --out.", source=out)
    kind: Compression = "int8" if int8 else "bf16"
    before, prepared = load(model), open_cohort(cohort)
    require_same_input(before, prepared)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp") as work:
        after = load(_save(before, Path(work) / "model", kind, ""))
        found, volumes = _compared(before, after, prepared, split=split, most=most)
        sizes = [one.folder.weights_bytes for one in (before, after)]
    said = f"Weights rounded to {kind}: mean AUROC {found.after:.4f} on {volumes:,} volumes, {found.before:.4f} before."
    _print(found, sizes, kind)
    if not found.before - found.after <= MOST_LOST:
        fact = f"{kind} loses {found.before - found.after:.4f} of the mean AUROC, more than {MOST_LOST}; nothing was written"
        raise InputError(fact, cure="Give the other format, or a cohort of the model's own labels.", source=model)
    _save(before, out, kind, said)


def _save(model: Model, out: Path, kind: Compression, said: str) -> Path:
    from thoracle.errors import TokenizerMissing
    from thoracle.models.compression import compressed
    from thoracle.models.folder import load_tensors, save_model
    from thoracle.models.tokenizer import Tokenizer

    folder = model.folder
    tokenizer: Tokenizer | None
    try:
        tokenizer = folder.tokenizer()
    except TokenizerMissing:
        tokenizer = None
    save_model(
        out,
        kind=folder.kind,
        config=folder.config,
        preprocess=folder.preprocess,
        labels=folder.labels,
        tensors=compressed(load_tensors(folder), kind),
        tokenizer=tokenizer,
        licence=folder.licence,
        trained=folder.trained,
        caution=" ".join(filter(None, [folder.caution, said])),
        source_sha256=folder.source_sha256,
    )
    return out


def _compared(before: Model, after: Model, cohort: Cohort, *, split: Split, most: int) -> tuple[Effect, int]:
    import numpy as np
    from rich.console import Console

    from thoracle.cli.evaluate.detection import follow
    from thoracle.errors import InputError
    from thoracle.evaluation.compression import Answers, ask_both, effect
    from thoracle.evaluation.score import chosen
    from thoracle.types import ABNORMALITIES

    entries, labels, answers = chosen(cohort, {split})[:most], before.folder.labels, Answers()
    if not entries or not set(labels) <= set(ABNORMALITIES):
        fact = f"split {split} has no scan with the model's labels"
        raise InputError(fact, cure="Give another --split, or a cohort of its labels.", source=cohort.folder)
    columns = [ABNORMALITIES.index(label) for label in labels]
    truth = np.array([[np.nan if entry.labels[k] is None else float(entry.labels[k] or 0) for k in columns] for entry in entries])
    follow(ask_both(before, after, cohort, entries, answers), total=len(entries), console=Console(stderr=True, highlight=False))
    return effect(answers, truth, patients=[entry.patient for entry in entries], labels=labels), len(entries)


def _print(found: Effect, sizes: list[int], kind: Compression) -> None:
    from rich.console import Console

    from thoracle.types import RESEARCH_USE

    console = Console(highlight=False)
    before, after = (size / 1e6 for size in sizes)
    console.print(f"weights           {before:.1f} MB before, {after:.1f} MB as {kind}")
    console.print(f"a scan            {found.seconds[0]:.3f} s before, {found.seconds[1]:.3f} s as {kind}")
    console.print(f"mean AUROC        {found.before:.4f} before, {found.after:.4f} as {kind}")
    change = found.change
    console.print(f"change            {change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f}), 95% over patients")
    console.print(f"falls most        {found.label}, by {found.fall:.4f}")
    console.print(f"probabilities     change by {found.mean:.5f} in the mean, {found.largest:.5f} at most")
    console.print(RESEARCH_USE)

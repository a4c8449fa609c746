"""`thoracle export`: smaller weights, or one ONNX graph, after its answers were compared with the model's own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoracle.cli.app import app
from thoracle.cli.options import SplitName

if TYPE_CHECKING:
    from thoracle.cohort.manifest import Cohort
    from thoracle.evaluation.detection.model_equivalence import Detect, EquivalenceReport
    from thoracle.inference.model import Model
    from thoracle.models.weights.quantization import Compression

#: Of the mean AUROC: what falls further is not written.
MOST_LOST = 0.01
#: Of latents of a model without the cohort's labels: what is less like its own is not written.
LEAST_COSINE = 0.99


@app.command()
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder.")],
    *,
    out: Annotated[Path, typer.Option(metavar="PATH", help="The new model folder; with --onnx the new file.")],
    cohort: Annotated[Path | None, typer.Option(metavar="COHORT", help="Prepared scans with labels: answers are compared on them.")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="A byte a weight; with --onnx products are computed in int8 too.")] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="Two bytes a weight.")] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="One graph from volume to probabilities, for machines without torch.")] = False,
    merge: Annotated[bool, typer.Option("--merge", help="A chat folder whose language model holds the adapter.")] = False,
    encoder: Annotated[Path | None, typer.Option(metavar="DIR", help="With --merge: where the chat folder's encoder is now.")] = None,
    base: Annotated[Path | None, typer.Option(metavar="DIR", help="With --merge: where its language model is now.")] = None,
    split: Annotated[SplitName, typer.Option(help="Whose scans.")] = "valid",
    limit: Annotated[int, typer.Option(min=1, help="Volumes, the first by name.")] = 3000,
) -> None:
    """Write a model in fewer bytes or as ONNX, unless its AUROC falls by more than 0.01; or a chat model whose adapter is merged.

    A model that has latents and none of the cohort's labels is compared by these: a cosine below 0.99 is not written.

    A folder of smaller weights is opened as any model. Its arithmetic stays float32: it is smaller on the disk alone, and neither faster
    nor smaller in memory. --onnx --int8 computes in int8. A merged chat folder holds its language model, which any library opens, and
    answers as before.
    """
    from thoracle.cohort.manifest import open_cohort
    from thoracle.errors import InputError, OutputConflict
    from thoracle.evaluation.predict import require_same_input
    from thoracle.inference.model import load

    if (int8 and not onnx) + bf16 + onnx + merge != 1 or (int8 and not onnx and merge):
        raise InputError("expected one of --int8, --bf16, --onnx and --merge", hint="Give one of the four, or --onnx --int8.")
    if out.exists():
        raise OutputConflict("exists", hint="Give a new --out.", source=out)
    if merge:
        from thoracle.inference.export.merged_chat import export_merged_chat

        merged = export_merged_chat(model, out, encoder=encoder, base=base)
        typer.echo(f"{merged.summary}, and written; logits differ by {merged.difference:.1e} of the largest, words do not")
        return
    if cohort is None:
        raise InputError("expected --cohort", hint="Give the prepared scans on which answers are compared.")
    before, prepared = load(model, device="cpu"), open_cohort(cohort)
    require_same_input(before, prepared)
    out.parent.mkdir(parents=True, exist_ok=True)
    if not onnx and not _has_labels(before):
        _export_by_latents(before, prepared, out, "int8" if int8 else "bf16", split=split, limit=limit)
        return
    write, kind = (_onnx, "int8 onnx" if int8 else "onnx") if onnx else (_rounded, "int8" if int8 else "bf16")
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp") as work:
        size, after, put = write(before, Path(work) / "model", kind)
        report, volumes = _compared(before, after, prepared, split=split, limit=limit)
    _print(report, [before.folder.weights_bytes, size], kind)
    if not report.before - report.after <= MOST_LOST:
        detail = f"{kind} loses {report.before - report.after:.4f} of the mean AUROC, more than {MOST_LOST}; nothing was written"
        raise InputError(detail, hint="Give another format, or a cohort of the model's own labels.", source=model)
    put(out, f"mean AUROC {report.after:.4f} on {volumes:,} volumes, {report.before:.4f} before.")


def _has_labels(model: Model) -> bool:
    """Tell whether a model answers abnormalities that cohorts are labelled by."""
    from thoracle.types import ABNORMALITIES

    return bool(model.folder.labels) and set(model.folder.labels) <= set(ABNORMALITIES)


def _export_by_latents(model: Model, cohort: Cohort, out: Path, kind: Compression, *, split: SplitName, limit: int) -> None:
    """Write a folder of fewer bytes whose latents are like the model's own; raises InputError where they are not, or no scan is there."""
    from rich.console import Console

    from thoracle.cli.progress import follow
    from thoracle.errors import InputError
    from thoracle.evaluation.detection.model_equivalence import Answers, run_both, worst_cosine
    from thoracle.inference.export.quantized import export_quantized
    from thoracle.inference.model import load
    from thoracle.types import RESEARCH_USE

    entries, answers = [entry for entry in cohort.entries if entry.split == split][:limit], Answers()
    if not entries:
        raise InputError(f"split {split} has no scan", hint="Give another --split.", source=cohort.folder)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp") as work:
        small = load(export_quantized(model, Path(work) / "model", kind, summary="").path, device="cpu")
        pairs = run_both(
            lambda volume: tuple(model.volume_latent(volume).tolist()),
            lambda volume: tuple(small.volume_latent(volume).tolist()),
            cohort,
            entries,
            answers,
        )
        follow(pairs, total=len(entries), console=Console(stderr=True, highlight=False))
    cosine, console = worst_cosine(answers), Console(highlight=False)
    sizes = " MB before, ".join(f"{folder.weights_bytes / 1e6:.1f}" for folder in (model.folder, small.folder))
    console.print(f"weights           {sizes} MB as {kind}")
    console.print(f"latents           cosine at least {cosine:.5f} on {len(entries):,} volumes")
    console.print(RESEARCH_USE)
    if not cosine >= LEAST_COSINE:
        detail = f"{kind} turns a latent to a cosine of {cosine:.4f} with its own, below {LEAST_COSINE}; nothing was written"
        raise InputError(detail, hint="Give another format.", source=model.folder.path)
    summary = f"Weights rounded to {kind}: latents of {len(entries):,} volumes have a cosine of {cosine:.5f} or more with those before."
    export_quantized(model, out, kind, summary=summary)


def _rounded(model: Model, work: Path, kind: str) -> tuple[int, Detect, Callable[[Path, str], object]]:
    """Bytes of the smaller model's weights, what answers by them, and what writes the folder with a sentence of what was measured."""
    from thoracle.inference.export.quantized import export_quantized
    from thoracle.inference.model import load

    format_: Compression = "int8" if kind == "int8" else "bf16"
    small = load(export_quantized(model, work, format_, summary="").path, device="cpu")

    def put(out: Path, measured: str) -> object:
        return export_quantized(model, out, format_, summary=f"Weights rounded to {kind}: {measured}")

    return small.folder.weights_bytes, lambda prepared: small.detect(prepared).probabilities, put


def _onnx(model: Model, _: Path, kind: str) -> tuple[int, Detect, Callable[[Path, str], object]]:
    """As `_rounded`, of the file."""
    from thoracle.files.atomic import write_atomic
    from thoracle.inference.export.onnx import add_caution, onnx_detect, onnx_model, quantize_onnx

    content = onnx_model(model) if kind == "onnx" else quantize_onnx(onnx_model(model))
    detect = onnx_detect(content)

    def put(out: Path, measured: str) -> None:
        write_atomic(out, content if kind == "onnx" else add_caution(content, f"Computes in int8: {measured}"))

    return len(content), lambda prepared: detect(prepared.array), put


def _compared(before: Model, after: Detect, cohort: Cohort, *, split: SplitName, limit: int) -> tuple[EquivalenceReport, int]:
    import numpy as np
    from rich.console import Console

    from thoracle.cli.progress import follow
    from thoracle.errors import InputError
    from thoracle.evaluation.detection.model_equivalence import Answers, compare_answers, run_both
    from thoracle.evaluation.predict import labelled_entries
    from thoracle.types import ABNORMALITIES

    entries, labels, answers = labelled_entries(cohort, {split})[:limit], before.folder.labels, Answers()
    if not entries or not set(labels) <= set(ABNORMALITIES):
        detail = f"split {split} has no scan with the model's labels"
        raise InputError(detail, hint="Give another --split, or a cohort of its labels.", source=cohort.folder)
    columns = [ABNORMALITIES.index(label) for label in labels]
    truth = np.array([[np.nan if entry.labels[k] is None else float(entry.labels[k] or 0) for k in columns] for entry in entries])
    if not ((truth == 0).any(axis=0) & (truth == 1).any(axis=0)).any():
        detail = f"of {len(entries):,} scans of split {split}, all or none have each finding: there is no AUROC to compare"
        raise InputError(detail, hint="Give more scans: a higher --limit, another --split or a larger cohort.", source=cohort.folder)
    pairs = run_both(lambda prepared: before.detect(prepared).probabilities, after, cohort, entries, answers)
    follow(pairs, total=len(entries), console=Console(stderr=True, highlight=False))
    return compare_answers(answers, truth, patients=[entry.patient for entry in entries], labels=labels), len(entries)


def _print(report: EquivalenceReport, sizes: list[int], kind: str) -> None:
    from rich.console import Console

    from thoracle.types import RESEARCH_USE

    console = Console(highlight=False)
    before, after = (size / 1e6 for size in sizes)
    console.print(f"weights           {before:.1f} MB before, {after:.1f} MB as {kind}")
    console.print(f"a scan            {report.seconds[0]:.3f} s before, {report.seconds[1]:.3f} s as {kind}")
    console.print(f"mean AUROC        {report.before:.4f} before, {report.after:.4f} as {kind}")
    change = report.change
    console.print(f"change            {change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f}), 95% over patients")
    console.print(f"falls most        {report.label}, by {report.fall:.4f}")
    console.print(f"probabilities     change by {report.mean:.5f} in the mean, {report.largest:.5f} at most")
    if "onnx" not in kind:
        console.print("Smaller on the disk alone: its weights are float32 again in memory, and its time and memory those of before.")
    console.print(RESEARCH_USE)

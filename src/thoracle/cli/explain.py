"""`thoracle explain`: where in a scan a model reads a finding, as NIfTI in its millimetres and PNG of the slices that matter most."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thoracle.cli.app import app
from thoracle.cli.options import Device, ModelFolder, ReadArguments, reads_scans

if TYPE_CHECKING:
    from rich.console import Console

    from thoracle.ct.volume import Volume
    from thoracle.inference.explain import Saliency, Slab
    from thoracle.inference.explanation_json import ExplainedFinding
    from thoracle.inference.model import Model

Method = Literal["gradient", "occlusion", "attention"]
_SHOWN = 3


@app.command()
@reads_scans
def explain(
    scan: Annotated[Path, typer.Argument(metavar="SCAN", help="NIfTI, NRRD, MetaImage, DICOM file, folder or .zip.")],
    *,
    finding: Annotated[list[str], typer.Option(help='What to look for: "Pleural effusion". May be given several times.')],
    out: Annotated[Path, typer.Option(metavar="DIR", help="NIfTI and PNG of each finding, explanation.json.")],
    model: ModelFolder = None,
    method: Annotated[
        Method, typer.Option(help="Occlusion fills one box of the scan after the other, up to 512; attention needs a label-attention head.")
    ] = "gradient",
    read_arguments: ReadArguments,
    device: Device = "auto",
) -> None:
    """Show where in a scan a model reads a finding, and name the slices that matter most.

    How much such maps can be believed is measured by `thoracle evaluate explanation`.
    """
    from rich.console import Console

    from thoracle.cli.findings_table import notify
    from thoracle.files.json_file import write_json
    from thoracle.inference.batch.discover_scans import ScanLocation
    from thoracle.inference.batch.runner import read_scan
    from thoracle.inference.demo.default_model import model_or_demo
    from thoracle.inference.explain import axial_contributions, saliency
    from thoracle.inference.explanation_json import ExplainedFinding, explanation_json, file_stem
    from thoracle.inference.model import load
    from thoracle.inference.prepare import prepare

    loaded = load(model_or_demo(model, notify=notify), device=device)
    volume = read_scan(ScanLocation(name=scan.name, path=scan), read_arguments.reading())
    prepared = prepare(volume, loaded.preprocess)
    findings = loaded.detect(prepared, abnormalities=finding)
    console = Console(stderr=True, highlight=False)
    with console.status("boxes") as status:
        maps = saliency(
            loaded,
            prepared,
            abnormalities=finding,
            method=method,
            progress=lambda count, of: status.update(f"boxes {count:,} of {of:,}"),
        )
    explained = []
    for name, probability, saliency_THW in zip(finding, findings.probabilities, maps, strict=True):
        rows = axial_contributions(saliency_THW, volume, loaded.preprocess)
        stem = file_stem(name, method)
        _write(volume, loaded, saliency_THW, rows, out=out, stem=stem, title=f"{name}, probability {probability:.3f}, {method}")
        explained.append(ExplainedFinding(finding=name, probability=probability, stem=stem, layers=tuple(rows)))
    document = explanation_json(explained, model=loaded, method=method, grid=maps.shape[1:], warnings=findings.warnings)
    write_json(out / "explanation.json", document, indent=1)
    _print(explained, loaded, findings.warnings, slices=volume.array.shape[2])


def _write(volume: Volume, model: Model, saliency_THW: Saliency, rows: list[Slab], *, out: Path, stem: str, title: str) -> None:
    """STEM.nii.gz of the scan's shape, STEM.png of its strongest slices."""
    from thoracle.evaluation.html.plots import heat_slices
    from thoracle.files.atomic import write_atomic
    from thoracle.inference.explain import resample_to_scan, to_nifti
    from thoracle.types import RESEARCH_USE

    heat = resample_to_scan(saliency_THW, volume, model.preprocess)
    write_atomic(out / f"{stem}.nii.gz", to_nifti(heat, volume))
    shown = rows[:_SHOWN]
    titles = [f"slice {row.middle + 1} of {volume.array.shape[2]}, z {row.z_mm:.0f} mm, {row.fraction:.0%}" for row in shown]
    words = [title, *([] if model.folder.trained else ["UNTRAINED WEIGHTS"]), *filter(None, [model.folder.disclaimer]), RESEARCH_USE]
    if shown:
        at = [row.middle for row in shown]
        picture = heat_slices(volume.array, heat, at=at, titles=titles, pixel=volume.spacing[:2], title="\n".join(words))
        write_atomic(out / f"{stem}.png", picture)


def _print(findings: list[ExplainedFinding], model: Model, warnings: tuple[str, ...], *, slices: int) -> None:
    from rich.console import Console
    from rich.markup import escape

    from thoracle.cli.findings_table import UNTRAINED
    from thoracle.types import RESEARCH_USE

    console: Console = Console(highlight=False)
    for finding in findings:
        console.print(f"{escape(finding.finding)}: probability {finding.probability:.3f}; {finding.stem}.nii.gz")
        for layer in finding.layers[:_SHOWN]:
            span = f"slices {layer.first + 1} to {layer.last + 1} of {slices} from the feet"
            console.print(f"  {layer.fraction:.0%} of what speaks for it: {span}, around z {layer.z_mm:.0f} mm")
        if not finding.layers:
            console.print("  Nothing in the scan speaks for it.")
    for warning in warnings:
        console.print(f"[yellow]Warning:[/] {escape(warning)}")
    if not model.folder.trained:
        console.print(f"[bold red]{UNTRAINED}[/]")
    console.print(RESEARCH_USE)

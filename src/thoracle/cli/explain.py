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
    from thoracle.inference.explain import Saliency
    from thoracle.inference.explanation_json import ExplainedFinding
    from thoracle.inference.model import Model

Method = Literal["gradient", "occlusion", "similarity", "attention", "regions"]
_SHOWN = 3
_WIDTH = 110  # characters of a line above a picture


@app.command()
@reads_scans
def explain(
    scan: Annotated[Path, typer.Argument(metavar="SCAN", help="NIfTI, NRRD, MetaImage, DICOM file, folder or .zip.")],
    *,
    finding: Annotated[list[str], typer.Option(help='What to look for: "Pleural effusion". May be given several times.')],
    out: Annotated[Path, typer.Option(metavar="DIR", help="NIfTI and PNG of each finding, explanation.html, explanation.json.")],
    model: ModelFolder = None,
    method: Annotated[
        Method,
        typer.Option(help="Occlusion fills up to 512 boxes, one after the other; attention and regions need models that have them."),
    ] = "gradient",
    read_arguments: ReadArguments,
    device: Device = "auto",
) -> None:
    """Show where in a scan a model reads a finding, and name the slices, the side and the lobe that matter most.

    Whether such maps are better than where a finding usually lies is measured by `thoracle evaluate explanation --save-localization`, and
    said of each finding.
    """
    from rich.console import Console

    from thoracle.cli.findings_table import UNTRAINED, notify
    from thoracle.evaluation.explanation.scan_page import write_scan_page
    from thoracle.evaluation.html.page import terms
    from thoracle.files.atomic import write_atomic
    from thoracle.files.json_file import write_json
    from thoracle.inference.batch.discover_scans import ScanLocation
    from thoracle.inference.batch.runner import read_scan
    from thoracle.inference.demo.default_model import model_or_demo
    from thoracle.inference.explain import axial_contributions, saliency
    from thoracle.inference.explanation_json import ExplainedFinding, explanation_json, file_stem
    from thoracle.inference.localization.measured import read_localization
    from thoracle.inference.localization.strongest_place import strongest_place
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
    measured = read_localization(loaded.folder.path, weights_sha256=loaded.folder.weights_sha256).get(method)
    explained, pictures = [], {}
    for name, probability, saliency_THW in zip(finding, findings.probabilities, maps, strict=True):
        shown = ExplainedFinding(
            finding=name,
            probability=probability,
            stem=file_stem(name, method),
            layers=tuple(axial_contributions(saliency_THW, volume, loaded.preprocess)),
            location=strongest_place(saliency_THW, prepared.box),
            measured=None if measured is None else measured.findings.get(name),
        )
        pictures[name] = _write(volume, loaded, saliency_THW, shown, out=out, method=method)
        explained.append(shown)
    measured_on = None if measured is None else measured.measured_on
    document = explanation_json(
        explained, model=loaded, method=method, grid=maps.shape[1:], warnings=findings.warnings, measured_on=measured_on
    )
    write_json(out / "explanation.json", document, indent=1)
    notes = [*([] if loaded.folder.trained else [UNTRAINED]), *findings.warnings, *terms(loaded.settings())]
    page = write_scan_page(explained, pictures, method=method, slices=volume.array.shape[2], measured_on=measured_on, notes=notes)
    write_atomic(out / "explanation.html", page)
    _print(explained, loaded, findings.warnings, slices=volume.array.shape[2])


def _write(volume: Volume, model: Model, saliency_THW: Saliency, finding: ExplainedFinding, *, out: Path, method: str) -> bytes:
    """STEM.nii.gz of the scan's shape, STEM.png of its strongest slices, which is returned; empty where there is none."""
    from textwrap import fill

    from thoracle.ct.nifti_image import to_nifti
    from thoracle.evaluation.html.plots import heat_slices
    from thoracle.files.atomic import write_atomic
    from thoracle.inference.explain import resample_to_scan
    from thoracle.types import RESEARCH_USE

    heat = resample_to_scan(saliency_THW, volume, model.preprocess)
    write_atomic(out / f"{finding.stem}.nii.gz", to_nifti(heat, volume.affine))
    shown = finding.layers[:_SHOWN]
    if not shown:
        return b""
    titles = [f"slice {row.middle + 1} of {volume.array.shape[2]}, z {row.z_mm:.0f} mm, {row.fraction:.0%}" for row in shown]
    title = f"{finding.finding}, probability {finding.probability:.3f}, {method}"
    statements = [fill(statement, _WIDTH) for statement in finding.statements()]
    notes = [*([] if model.folder.trained else ["UNTRAINED WEIGHTS"]), *filter(None, [model.folder.disclaimer]), RESEARCH_USE]
    at, words = [row.middle for row in shown], "\n".join([title, *statements, *notes])
    picture = heat_slices(volume.array, heat, at=at, titles=titles, pixel=volume.spacing[:2], title=words)
    write_atomic(out / f"{finding.stem}.png", picture)
    return picture


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
        for statement in finding.statements():
            console.print(f"  {statement[0].upper()}{statement[1:]}.", markup=False)
    for warning in warnings:
        console.print(f"[yellow]Warning:[/] {escape(warning)}")
    if not model.folder.trained:
        console.print(f"[bold red]{UNTRAINED}[/]")
    console.print(RESEARCH_USE)

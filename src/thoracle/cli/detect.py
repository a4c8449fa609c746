"""`thoracle detect`: abnormalities and their probabilities, of one scan as a table, of many into a CSV."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoracle.cli.app import app
from thoracle.cli.options import (
    BatchSize,
    Device,
    Dtype,
    FindingNames,
    FindingsFile,
    ModelFolder,
    Part,
    Precision,
    ReadArguments,
    Readers,
    Scans,
    Strict,
    reads_scans,
)
from thoracle.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thoracle.inference.batch.discover_scans import ScanLocation
    from thoracle.inference.batch.runner import ReadOptions
    from thoracle.inference.requested_findings import Finding


@app.command()
@reads_scans
def detect(
    scans: Scans,
    *,
    model: ModelFolder = None,
    finding: FindingNames = None,
    findings: FindingsFile = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write one scan's findings; - prints them.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="CSV", help="Many scans: CT-RATE's label columns, continued if it exists.")] = None,
    shard: Part = None,
    read_arguments: ReadArguments,
    strict: Strict = False,
    device: Device = "auto",
    dtype: Dtype = "float32",
    batch_size: BatchSize = None,
    workers: Readers = 1,
    check_precision: Annotated[bool, typer.Option("--check-precision", help="With bf16: codes and latent against float32.")] = False,
) -> None:
    """Print the probability of 18 abnormalities, or of findings in any words, in a chest CT, or write them for many.

    With --out a folder is a tree: each image file and each DICOM folder in it is a scan, named in the CSV by its file name, or by its
    path below the folder given. A run that was stopped goes on where it was when the same command is given again.

    Exit status: 0 all well, 1 a scan failed, 2 the command was wrong.
    """
    from thoracle.cli.findings_table import notify
    from thoracle.inference.batch.discover_scans import find_scans
    from thoracle.inference.demo.default_model import model_or_demo
    from thoracle.inference.requested_findings import requested_findings

    if check_precision and (out is not None or dtype != "bf16"):
        raise InputError("--check-precision compares bf16 with float32 on one scan", hint="Add --dtype bf16, leave --out.")
    folder = model_or_demo(model, notify=notify)
    locations = find_scans(
        scans,
        whole_folders=out is None or read_arguments.series is not None,
        encoding=read_arguments.encoding,
        notify=notify,
    )
    reading = read_arguments.reading(strict=strict)
    requested = requested_findings(finding or (), findings, encoding=read_arguments.encoding)
    if out is None:
        if batch_size is not None or workers > 1:
            raise InputError("--batch-size and --workers are for many scans", hint="Add --out, or leave them.")
        if len(locations) != 1 or shard is not None:
            raise InputError(f"{len(locations)} scans are not one table", hint="Give --out predictions.csv.")
        _one(locations[0], folder, reading, requested, device=device, dtype=dtype, json_file=json_file, check_precision=check_precision)
    else:
        if json_file is not None:
            raise InputError("--json is for one scan, --out for many", hint="Give one of the two.")
        _many(
            locations, folder, reading, requested, device=device, dtype=dtype, out=out, shard=shard, batch_size=batch_size, workers=workers
        )


def _one(
    scan: ScanLocation,
    folder: Path,
    reading: ReadOptions,
    requested: Sequence[Finding] | None,
    *,
    device: str,
    dtype: Precision,
    json_file: Path | None,
    check_precision: bool,
) -> None:
    from rich.console import Console

    from thoracle.cli.findings_table import Stopwatch, show_findings
    from thoracle.files.json_file import write_json
    from thoracle.inference.batch.runner import read_scan
    from thoracle.inference.model import load
    from thoracle.inference.prepare import prepare

    watch = Stopwatch()
    with watch("load"):
        model = load(folder, device=device, dtype=dtype)
    with watch("prompts"):
        model.warm_up(requested)
    with watch("read"):
        volume = read_scan(scan, reading)
    with watch("preprocess"):
        prepared = prepare(volume, model.preprocess, strict=reading.strict)
    del volume
    with watch("detect"):
        findings = model.detect(prepared, abnormalities=requested)
    printed = str(json_file) == "-"
    console = Console(stderr=printed)
    show_findings(console, findings, scan=scan.name, model=folder.resolve().name, watch=watch)
    if check_precision:
        effect = model.check_precision(prepared)
        codes = "" if effect.equal_codes is None else f"{effect.equal_codes:.2%} of codes equal, "
        console.print(f"{dtype} against float32: {codes}latent cosine {effect.latent_cosine:.6f}")
    if printed:
        typer.echo(json.dumps(findings.as_dict(), indent=2))
    elif json_file is not None:
        write_json(json_file, findings.as_dict(), indent=2)


def _many(
    scans: Sequence[ScanLocation],
    folder: Path,
    reading: ReadOptions,
    requested: Sequence[Finding] | None,
    *,
    device: str,
    dtype: Precision,
    out: Path,
    shard: str | None,
    batch_size: int | None,
    workers: int,
) -> None:
    from thoracle.cli.batch_progress import follow, select
    from thoracle.cli.findings_table import notify
    from thoracle.inference.batch.batch_size import fitting_batch_size
    from thoracle.inference.batch.result_table import ResultTable
    from thoracle.inference.batch.runner import process_scans
    from thoracle.inference.batch.scan_source import pending_scans
    from thoracle.inference.model import load
    from thoracle.inference.requested_findings import findings_settings, uncalibrated_note

    scans, out = select(scans, out, shard, metadata=reading.metadata)
    model = load(folder, device=device, dtype=dtype)
    findings = model.resolve_abnormalities(requested)
    model.warm_up(findings)
    if note := uncalibrated_note(findings, labels=model.folder.labels):
        notify(note)
    calibration = None if model.calibration is None else model.calibration.as_dict()
    label_settings = findings_settings(findings, labels=model.folder.labels, templates=model.folder.prompts)
    settings = {**model.settings(), **reading.settings(), **label_settings, "calibration": calibration}
    with ResultTable(out, columns=[finding.name for finding in findings], settings=settings) as table:
        todo = pending_scans(scans, table, metadata=reading.metadata, series=reading.series)
        outcomes = process_scans(
            todo,
            table,
            preprocess=model.preprocess,
            reading=reading,
            encode=lambda volumes: model.detect_batch(volumes, abnormalities=findings),
            row=lambda _, detected: [f"{p:.6g}" for p in detected.probabilities],
            batch_size=batch_size or fitting_batch_size(model),
            workers=workers,
        )
        failed = follow(outcomes, total=len(todo), before=len(scans) - len(todo), out=out, trained=model.folder.trained)
    if failed:
        raise typer.Exit(1)

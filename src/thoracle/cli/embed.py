"""`thoracle embed`: latents of many scans into one parquet file, and their tokens into files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoracle.cli.app import app
from thoracle.cli.options import BatchSize, Device, Dtype, ModelFolder, Part, Precision, ReadArguments, Readers, Scans, Strict, reads_scans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thoracle.inference.batch.discover_scans import ScanLocation
    from thoracle.inference.prepare import PreparedVolume
    from thoracle.models.encoder import VolumeEmbedding


@app.command()
@reads_scans
def embed(
    scans: Scans,
    *,
    out: Annotated[Path, typer.Option(metavar="PARQUET", help="VolumeName, latent, hashes of scan and model.")],
    model: ModelFolder = None,
    reports: Annotated[
        bool, typer.Option("--reports", help="SCAN are no scans but reports: text files, or tables with --id-column and --text-column.")
    ] = False,
    id_column: Annotated[str, typer.Option(metavar="NAME", help="What a report is called.")] = "AccessionNo",
    text_column: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="The report's column; again to join more.", show_default="report_text")
    ] = None,
    tokens: Annotated[Path | None, typer.Option(metavar="DIR", help="Also write each scan's tokens and codes, NAME.safetensors.")] = None,
    shard: Part = None,
    read_arguments: ReadArguments,
    strict: Strict = False,
    device: Device = "auto",
    dtype: Dtype = "float32",
    batch_size: BatchSize = None,
    workers: Readers = 1,
) -> None:
    """Write the latents of chest CTs, or of reports, for search and for training on top of them.

    While it runs, latents go into NAME.rows.csv beside the parquet file, which is made of it at the end; a run that was stopped goes on
    where it was when the same command is given again. Scans are found and named as by `thoracle detect --out`.

    Exit status: 0 all well, 1 a scan failed, 2 the command was wrong.
    """
    from thoracle.cli.batch_progress import follow, select
    from thoracle.cli.findings_table import notify
    from thoracle.errors import InputError
    from thoracle.inference.batch.batch_size import fitting_batch_size
    from thoracle.inference.batch.discover_scans import find_scans
    from thoracle.inference.batch.result_table import ResultTable, RowSource
    from thoracle.inference.batch.runner import process_scans
    from thoracle.inference.batch.scan_source import pending_scans, reading_fingerprint
    from thoracle.inference.demo.default_model import model_or_demo
    from thoracle.inference.latents import ROW_COLUMNS, has_tokens, latent_row, token_file, write_latents, write_tokens
    from thoracle.inference.model import load

    if reports:
        if tokens is not None or shard is not None:
            raise InputError("--tokens and --shard are of scans", hint="Leave them out with --reports.")
        model_folder = model_or_demo(model, notify=notify)
        _reports(scans, out, model_folder, (id_column, text_column), encoding=read_arguments.encoding, device=device, dtype=dtype)
        return
    whole_folders = read_arguments.series is not None
    listed = find_scans(scans, whole_folders=whole_folders, encoding=read_arguments.encoding, notify=notify)
    reading = read_arguments.reading(strict=strict)
    locations, out = select(listed, out, shard, metadata=reading.metadata)
    network = load(model_or_demo(model, notify=notify), device=device, dtype=dtype)
    weights = network.folder.weights_sha256
    settings = {**network.settings(), **reading.settings(), "dim_latent": network.dim_latent}

    def encode(volumes: Sequence[PreparedVolume]) -> list[tuple[PreparedVolume, VolumeEmbedding]]:
        return list(zip(volumes, network.encode_batch(volumes).rows(), strict=True))

    def row(scan: ScanLocation, encoded: tuple[PreparedVolume, VolumeEmbedding]) -> Sequence[str]:
        prepared, encoding = encoded
        if tokens is not None:
            assert prepared.provenance is not None, "it was read"
            source = RowSource(
                sha256=prepared.provenance.sha256,
                series=reading.series or "",
                reading=reading_fingerprint(scan, metadata=reading.metadata),
            )
            write_tokens(token_file(tokens, scan.name), encoding, source=source, model_sha256=weights)
        assert encoding.latent_BL is not None, "a model that encodes volumes has latents"
        return latent_row(encoding.latent_BL[0].float().cpu().numpy())

    def is_complete(name: str) -> bool:
        return tokens is None or has_tokens(token_file(tokens, name), source=table.sources[name], model_sha256=weights)

    with ResultTable(out.with_suffix(".rows.csv"), columns=ROW_COLUMNS, settings=settings) as table:
        todo = pending_scans(locations, table, metadata=reading.metadata, series=reading.series, is_complete=is_complete)
        outcomes = process_scans(
            todo,
            table,
            preprocess=network.preprocess,
            reading=reading,
            row=row,
            encode=encode,
            batch_size=batch_size or fitting_batch_size(network),
            workers=workers,
            is_complete=is_complete,
        )
        failed = follow(outcomes, total=len(todo), before=len(locations) - len(todo), out=out, trained=network.folder.trained)
        if table.rows:
            write_latents(out, table, model_sha256=weights)
    if failed:
        raise typer.Exit(1)


def _reports(
    paths: Sequence[Path],
    out: Path,
    model: Path,
    columns: tuple[str, list[str] | None],
    *,
    encoding: str,
    device: str,
    dtype: Precision,
) -> None:
    from rich.console import Console

    from thoracle.inference.batch.report_latents import embed_reports, read_reports
    from thoracle.inference.batch.result_table import ResultTable
    from thoracle.inference.labeler.report_table import TEXT_COLUMN
    from thoracle.inference.latents import ROW_COLUMNS, write_latents
    from thoracle.inference.model import load
    from thoracle.types import RESEARCH_USE

    id_column, text_columns = columns
    texts = read_reports(paths, id_column=id_column, text_columns=text_columns or [TEXT_COLUMN], encoding=encoding)
    network = load(model, device=device, dtype=dtype)
    settings = {**network.settings(), "dim_latent": network.dim_latent, "of": "reports"}
    with ResultTable(out.with_suffix(".rows.csv"), columns=ROW_COLUMNS, settings=settings) as table:
        new = sum(1 for _ in embed_reports(network, texts, table))
        write_latents(out, table, model_sha256=network.folder.weights_sha256)
    console = Console(stderr=True, highlight=False)
    console.print(f"{len(texts):,} reports, {new:,} of them encoded now: {out}", markup=False)
    console.print(RESEARCH_USE)

"""`thoracle index COHORT --model M --out INDEX`: a prepared cohort becomes searchable."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from thoracle.cli.index import index
from thoracle.cli.options import BatchSize, Device, Dtype, Encoding, FindingNames, FindingsFile, ModelFolder, Only

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from thoracle.cli.progress import ProgressBar
    from thoracle.cohort.reports import Section
    from thoracle.inference.model import Model
    from thoracle.inference.requested_findings import Finding
    from thoracle.search.backend import IndexBackend
    from thoracle.search.indexing import IndexProgress
    from thoracle.search.record import Record


@index.command()
def add(
    cohort: Annotated[
        Path, typer.Argument(metavar="COHORT", help="What `thoracle prepare` wrote, for this model; or a table of reports without scans.")
    ],
    *,
    out: Annotated[str, typer.Option(metavar="INDEX", help="A folder, or http://HOST:6333/NAME on a Qdrant server.")],
    model: ModelFolder = None,
    split: Annotated[
        list[str] | None, typer.Option(metavar="train|dev|valid|test", help="Only these splits; may be repeated.", show_default=False)
    ] = None,
    only: Only = None,
    section: Annotated[
        Literal["findings", "impression", "both"], typer.Option(help="Which of a report is encoded: what the model learned to read.")
    ] = "both",
    id_column: Annotated[str, typer.Option(metavar="NAME", help="Of a table: what a report's scan is called.")] = "AccessionNo",
    text_column: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Of a table: the report; again to join more.", show_default="report_text")
    ] = None,
    patient_column: Annotated[str | None, typer.Option(metavar="NAME", help="Of a table: whose report it is.", show_default=False)] = None,
    encoding: Encoding = "utf-8",
    keep_identifiers: Annotated[
        bool, typer.Option("--keep-identifiers", help="Keep a hospital's own names and numbers instead of pseudonyms.")
    ] = False,
    site_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Key of the pseudonyms; made where there is none.")] = None,
    thumbnails: Annotated[bool, typer.Option(help="Keep a few small slices of each volume, for --html.")] = True,
    approximate: Annotated[
        bool | None, typer.Option("--approximate/--exact", help="With or without an approximate index; by default from 200,000 volumes.")
    ] = None,
    finding: FindingNames = None,
    findings: FindingsFile = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    batch_size: BatchSize = None,
) -> None:
    """Encode each volume and each report of a cohort, and keep latents, words, labels and facts where `thoracle search` finds them.

    A run that was stopped goes on where it was when the same command is given again; so does one on a cohort that has grown or changed.

    Exit status: 0 all well, 1 a volume could not be read, 2 the command was wrong.
    """
    from rich.console import Console
    from rich.markup import escape

    from thoracle.cli.findings_table import notify
    from thoracle.cli.progress import ProgressBar
    from thoracle.cohort.manifest import open_cohort
    from thoracle.cohort.pseudonyms import SiteKey, default_key_file
    from thoracle.cohort.sources import SPLITS
    from thoracle.errors import InputError
    from thoracle.files.table import TABLE_SUFFIXES
    from thoracle.inference.batch.batch_size import fitting_batch_size
    from thoracle.inference.demo.default_model import model_or_demo
    from thoracle.inference.labeler.report_table import TEXT_COLUMN, ReportTable
    from thoracle.inference.model import load
    from thoracle.inference.model_locations import register
    from thoracle.search.indexing import encode_queries, index_cohort, index_settings, latent_settings
    from thoracle.search.open_index import open_index_for_writing
    from thoracle.search.report_index import cohort_reports, join_scans, table_reports

    console, chosen, failed = Console(stderr=True, highlight=False), split or SPLITS, 0
    if unknown := sorted(set(chosen) - set(SPLITS)):
        raise InputError(f"no split {', '.join(unknown)!r:.60}", hint=f"There are {', '.join(SPLITS)}.")
    is_table = cohort.suffix.lower() in TABLE_SUFFIXES
    if is_table and (only is not None or split):
        raise InputError("--only and --split take volumes of a prepared cohort", hint="Give a cohort, or a shorter table of reports.")
    prepared = None if is_table else open_cohort(cohort, only=only)
    if prepared is not None and prepared.selection:
        console.print(prepared.selection, markup=False)
    covered = (prepared is None or prepared.naming == "real") and not keep_identifiers
    key = SiteKey.open(site_key or default_key_file(), outside=Path(out)) if covered else None
    network = load(model_or_demo(model, notify=notify), device=device, dtype=dtype)
    requested = _requested(finding or (), findings, encoding=encoding, model=network)
    splits = [name for name in SPLITS if name in chosen]
    if prepared is None:
        table = ReportTable(
            path=cohort,
            id_column=id_column,
            text_columns=text_column or (TEXT_COLUMN,),
            also=[patient_column] if patient_column else [],
            encoding=encoding,
        )
        settings, records = latent_settings(network, key=None if key is None else key.fingerprint), table_reports(table, key)
    else:
        settings, records = index_settings(network, prepared, key), cohort_reports(prepared, key, splits=splits)
    with open_index_for_writing(out, settings, lists=approximate, texts=partial(encode_queries, network)) as backend:
        if prepared is not None:
            with ProgressBar("volumes", console=console) as bar:
                failed = index_cohort(
                    backend,
                    prepared,
                    network,
                    splits=splits,
                    key=key,
                    thumbnails=thumbnails,
                    batch_size=batch_size or fitting_batch_size(network),
                    progress=lambda progress: _show(progress, bar, console),
                )
        records = records if prepared is not None else join_scans(records, backend)
        summary = f"{len(backend):,} volumes, {failed} failed: {escape(out)}"
        if requested:
            console.print(_score(backend, network, requested), markup=False)
    register(network.folder.path, network.folder.weights_sha256)
    console.print(f"{summary}\n{_add_reports(records, network, section=section, out=out, settings=settings)}")
    _conclude(Path(out), network, console)
    if failed:
        raise typer.Exit(1)


def _conclude(out: Path, model: Model, console: Console) -> None:
    from thoracle.cli.findings_table import UNTRAINED
    from thoracle.search.local.faiss_lists import read_info
    from thoracle.types import RESEARCH_USE

    if info := read_info(out):
        console.print(info.sentence())
    if not model.folder.trained:
        console.print(f"[bold red]{UNTRAINED.replace('probabilities mean', 'what is found means')}[/]")
    console.print(RESEARCH_USE)


def _add_reports(records: Sequence[Record], model: Model, *, section: Section, out: str, settings: Mapping[str, Any]) -> str:
    """Add reports to the index beside that of the volumes, and say how many it has."""
    from thoracle.search.open_index import open_index_for_writing, open_reports, reports_location
    from thoracle.search.report_index import can_read_reports, index_reports

    with open_reports(out) as reports:
        is_new = reports is None
    if is_new and not any(record.report.text(section) for record in records):
        return f"No reports: nothing is said of the scans ({section})."
    if not can_read_reports(model):
        return "No reports: the model reads no text, or its tokenizer is not there."
    with open_index_for_writing(reports_location(out), {**settings, "section": section}) as reports:
        index_reports(reports, records, model, section=section)
        return f"{len(reports):,} reports ({section})"


def _requested(names: Sequence[str], file: Path | None, *, encoding: str, model: Model) -> Sequence[Finding]:
    """Return findings that were asked for, and say what the model lacks for them before volumes are encoded."""
    from thoracle.inference.requested_findings import requested_findings

    findings = requested_findings(names, file, encoding=encoding) or ()
    if findings:
        model.prompt_latents(findings)
    return findings


def _score(index: IndexBackend, model: Model, findings: Sequence[Finding]) -> str:
    """Keep probabilities of findings with each volume, and say of what kind they are."""
    from thoracle.search.indexing import score_findings

    changed = score_findings(index, model, findings)
    note = "Not calibrated, the model's own labels neither: they order scans; none is a threshold."
    return f"{len(findings)} findings: probabilities of {changed:,} volumes are new. {note}"


def _show(progress: IndexProgress, bar: ProgressBar, console: Console) -> None:
    """Print a volume that could not be read, and count those that are on the disk."""
    from rich.markup import escape

    if progress.failed:
        console.print(f"[red]{escape(progress.failed)}[/]: its cached volume is damaged; `thoracle prepare --verify` mends it.")
    bar.update(progress.completed, total=progress.total)

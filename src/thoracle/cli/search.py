"""`thoracle search`: cases by words, by a scan, a report, keywords, or like a known one, from an index."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from thoracle.cli.app import app
from thoracle.cli.index import IndexLocation
from thoracle.cli.options import Device, ReadArguments, SplitName, reads_scans

if TYPE_CHECKING:
    from thoracle.inference.model import Model
    from thoracle.inference.prepare import PreparedVolume
    from thoracle.search.backend import IndexBackend
    from thoracle.search.cohort_selection import RecordCounts
    from thoracle.search.engine import SearchResult
    from thoracle.search.record import Filters

Sex = Literal["F", "M", "O"]
_FILTER = "Filters"
_COHORT = "Cohorts"


@app.command()
@reads_scans
def search(
    index_location: IndexLocation,
    *,
    text: Annotated[str | None, typer.Option(help="What should be present, in free text.", show_default=False)] = None,
    scan: Annotated[Path | None, typer.Option(metavar="FILE", help="A scan: cases that look like it.")] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="A report in a text file: cases that it would describe.")] = None,
    keyword: Annotated[
        str | None, typer.Option(metavar="QUERY", help='effusion NOT pericardial, "lung nodule" OR nodul*.', show_default=False)
    ] = None,
    similar_to: Annotated[
        str | None, typer.Option(metavar="ACCESSION", help="A scan in the index: cases that look like it.", show_default=False)
    ] = None,
    gallery: Annotated[
        Literal["scans", "reports"], typer.Option("--for", help="What is looked for: scans, or the reports that the index keeps.")
    ] = "scans",
    weight: Annotated[
        list[str] | None,
        typer.Option(metavar="PART=X", help="text=2: of the parts text, scan, report, keyword, like that are fused.", show_default=False),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="scan|patient|duplicates", help="Of what is looked for.", show_default=False)
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="Labelled with it.", show_default=False, rich_help_panel=_FILTER)] = None,
    without_label: Annotated[list[str] | None, typer.Option(help="Labelled without.", show_default=False, rich_help_panel=_FILTER)] = None,
    age: Annotated[
        str | None,
        typer.Option(metavar="40-60", help="Years, both included; 40- and -60 too.", show_default=False, rich_help_panel=_FILTER),
    ] = None,
    sex: Annotated[Sex | None, typer.Option(rich_help_panel=_FILTER, show_default=False)] = None,
    since: Annotated[
        str | None,
        typer.Option("--from", metavar="DATE", help="2019, 2019-03, 2019-03-04.", show_default=False, rich_help_panel=_FILTER),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="Included.", show_default=False, rich_help_panel=_FILTER)
    ] = None,
    scanner: Annotated[str | None, typer.Option(help="Part of maker or model.", show_default=False, rich_help_panel=_FILTER)] = None,
    split: Annotated[SplitName | None, typer.Option(rich_help_panel=_FILTER, show_default=False)] = None,
    scored: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=P", help="A finding of `index --finding`, P or more.", show_default=False, rich_help_panel=_FILTER),
    ] = None,
    top: Annotated[int | None, typer.Option("--top", "-k", min=1, max=1000, help="How many hits.", show_default="10")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Miss none, also where the index has a faster way.")] = False,
    count: Annotated[
        bool, typer.Option("--count", help="Count all scans and patients that match keywords and filters.", rich_help_panel=_COHORT)
    ] = False,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="label|sex|decade|year", help="Count by this too; may be repeated.", show_default=False, rich_help_panel=_COHORT
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="List every volume that matches keywords and filters, in --csv.", rich_help_panel=_COHORT)
    ] = False,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="List that `--only` of other commands takes. It has names.", rich_help_panel=_COHORT),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the hits as JSON; - prints them.")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a contact sheet, without names.")] = None,
    model: Annotated[Path | None, typer.Option(metavar="DIR", help="The index's model, where this machine has not seen it.")] = None,
    site_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Key of the pseudonyms, for --similar-to with a real name.")] = None,
    read_arguments: ReadArguments,
    device: Device = "auto",
) -> None:
    """Find cases. Several of --text, --scan, --report, --keyword and --similar-to are fused by rank.

    A hit is a scan, or with --for reports a report of words that no better hit has; its sentence is that of its report with most words of
    the query. Keywords and --similar-to need no model.

    With --count, or --all and --csv, everything that matches keywords and filters is counted or listed, without ranks and without a limit.
    """
    from thoracle.cli.findings_table import notify
    from thoracle.errors import InputError
    from thoracle.search.answers.answer_json import answer_json
    from thoracle.search.cohort_selection import GROUPS, count_records, select_records, write_records
    from thoracle.search.engine import Engine, Query
    from thoracle.search.lookup import find_scan, site_key_for
    from thoracle.search.model_lookup import model_of
    from thoracle.search.open_index import open_index as opened_index
    from thoracle.search.open_index import open_reports
    from thoracle.search.query_text import parse_age_range, parse_scores, parse_weights
    from thoracle.search.record import Filters

    words = {"--text": text, "--keyword": keyword, "--similar-to": similar_to}
    _require_values({**words, "--age": age, "--from": since, "--to": until, "--scanner": scanner})
    ages = parse_age_range(age or "")
    filters = Filters(
        present=tuple(label or ()),
        absent=tuple(without_label or ()),
        age_from=ages[0],
        age_to=ages[1],
        sex=sex or "",
        date_from=since or "",
        date_to=until or "",
        scanner=scanner or "",
        split=split or "",
        scored=parse_scores(scored or ()),
    )
    if everything != (csv_file is not None):
        raise InputError("--all goes with --csv FILE", hint="Give both, or neither.")
    if by and not count:
        raise InputError("--by goes with --count", hint="Give both, or neither.")
    if unknown := sorted({*(by or ())}.difference(GROUPS)):
        raise InputError(f"cases are not counted by {unknown[0]!r:.40}", hint=f"Give {', '.join(GROUPS)}.")
    if filters.scored and gallery == "reports":
        raise InputError("--scored is of scans, and reports have no probabilities", hint="Leave --scored or --for reports out.")
    if count or everything:
        _require_absent(
            {"--text": text, "--scan": scan, "--report": report, "--similar-to": similar_to, "--weight": weight, "--exclude": exclude}
            | {"--top": top, "--exact": exact, "--html": html, "--model": model, "--for": gallery == "reports"}
        )
        with opened_index(index_location) as index:
            records = select_records(index, keyword=keyword or "", filters=filters)
        if csv_file is not None:
            write_records(csv_file, records)
        counts = count_records(records, groups=[group for group in GROUPS if group in (by or ())])
        _show_counts(counts, keyword=keyword or "", filters=filters, json_file=json_file)
        return
    with opened_index(index_location) as index, ExitStack() as stack:
        reports = stack.enter_context(open_reports(index_location)) if gallery == "reports" else None
        if gallery == "reports" and reports is None:
            raise InputError(
                "the index keeps no reports", hint="Index its cohort again with a model that reads text.", source=index_location
            )
        needs_model = text is not None or scan is not None or report is not None
        network = model_of(index, folder=model, device=device, notify=notify) if needs_model else None
        engine = Engine(index, model=network, reports=reports)
        query = Query(
            text=text or "",
            scan=_read(scan, read_arguments, network) if scan is not None and network is not None else None,
            report=_report(report),
            keyword=keyword or "",
            like=tuple(find_scan(index, similar_to, key=site_key_for(index, site_key, outside=Path(index_location)))) if similar_to else (),
            filters=filters,
            weights=parse_weights(weight or ()),
            leave_out=frozenset(exclude or ()),
            k=top or 10,
            exact=exact,
        )
        answer = engine.search(query)
        query_text = _asked(text=text, scan=scan, report=report, keyword=keyword, similar_to=similar_to)
        trained = bool(index.settings.get("trained", True))
        if html is not None:
            _write_html(html, index if reports is None else reports, answer, query_text)
        if json_file is None or str(json_file) != "-":
            size = f"{len(index):,} volumes" if reports is None else f"{len(reports):,} reports"
            _show(answer, size=size, trained=trained, latents=bool(query.like) or network is not None)
        if json_file is not None:
            _write_json(json_file, answer_json(answer, filters=filters, trained=trained, gallery=gallery))


def _require_values(options: Mapping[str, str | None]) -> None:
    """Refuse an option with nothing in it, which would search as if it were not there."""
    from thoracle.errors import InputError

    for option, value in options.items():
        if value is not None and not value.strip():
            raise InputError(f"{option} is empty", hint="Give it a value, or leave it out.")


def _require_absent(options: Mapping[str, object]) -> None:
    """Refuse options that counts and lists have no use for."""
    from thoracle.errors import InputError

    if present := [option for option, value in options.items() if value]:
        detail = f"{', '.join(present)} ranks cases, and --count and --all are of all that match --keyword and filters"
        raise InputError(detail, hint="Leave it out.")


def _show_counts(counts: RecordCounts, *, keyword: str, filters: Filters, json_file: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from thoracle.search.cohort_selection import counts_json
    from thoracle.types import RESEARCH_USE

    if json_file is not None:
        _write_json(json_file, counts_json(counts, keyword=keyword, filters=filters))
    if str(json_file) == "-":
        return
    console = Console(highlight=False)
    total = counts.total
    console.print(f"{total.scans:,} scans of {total.patients:,} patients match ({counts.volumes:,} volumes).")
    table = Table(box=None, pad_edge=False, header_style="")
    for name, right in (("", False), ("", False), ("Scans", True), ("Patients", True)):
        table.add_column(name, justify="right" if right else "left")
    for group, values in counts.groups.items():
        for value, number in values.items():
            table.add_row(group, value, f"{number.scans:,}", f"{number.patients:,}")
    if table.rows:
        console.print(table)
    console.print(RESEARCH_USE)


def _read(path: Path, reading: ReadArguments, model: Model) -> PreparedVolume:
    from thoracle.errors import InputError
    from thoracle.inference.batch.discover_scans import find_scans
    from thoracle.inference.batch.runner import read_scan
    from thoracle.inference.prepare import prepare

    locations = find_scans([path], whole_folders=True)
    if len(locations) != 1:
        raise InputError(f"{len(locations)} scans are not one", hint="Give one file, or one folder of DICOM.", source=path)
    return prepare(read_scan(locations[0], reading.reading()), model.preprocess)


def _report(path: Path | None) -> str:
    if path is None:
        return ""
    from thoracle.inference.batch.report_latents import read_report_text

    return read_report_text(path)


def _asked(*, text: str | None, scan: Path | None, report: Path | None, keyword: str | None, similar_to: str | None) -> str:
    """In words without names: a file's name may be a patient's."""
    parts = (text, "a scan" if scan else "", "a report" if report else "", keyword, "a known scan" if similar_to else "")
    return " + ".join(filter(None, parts))


def _show(answer: SearchResult, *, size: str, trained: bool, latents: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from thoracle.cli.findings_table import UNTRAINED
    from thoracle.text_safety import terminal_safe
    from thoracle.types import RESEARCH_USE

    console = Console()
    table = Table(box=None, pad_edge=False, header_style="")
    for name, right in (("", True), ("Score", True), ("Accession", False), ("Labels", False), ("Sentence", False)):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for rank, hit in enumerate(answer.hits, 1):
        labels = ", ".join(hit.record.findings)
        names = (hit.record.accession, labels, hit.sentence)
        table.add_row(str(rank), f"{hit.score:.4f}", *(escape(terminal_safe(name)) for name in names))
    console.print(table if answer.hits else "Nothing found.")
    if latents and not trained:
        console.print(f"[bold red]{UNTRAINED.replace('probabilities mean', 'likeness means')}[/]")
    times = f"{size}; encode {answer.encoding * 1000:.0f} ms, search {answer.searching * 1000:.1f} ms"
    console.print(times, style="dim", highlight=False)
    console.print(RESEARCH_USE)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    from thoracle.files.atomic import write_atomic

    text = json.dumps(document, indent=2) + "\n"
    if str(path) == "-":
        typer.echo(text, nl=False)
    else:
        write_atomic(path, text.encode(), private=True)


def _write_html(path: Path, index: IndexBackend, answer: SearchResult, query_text: str) -> None:
    from thoracle.evaluation.html.page import terms
    from thoracle.files.atomic import write_atomic
    from thoracle.search.answers.contact_sheet import contact_sheet

    thumbnails = index.thumbnails([hit.number for hit in answer.hits])
    sheet = contact_sheet(answer.hits, thumbnails, query_text=query_text, notes=terms(index.settings))
    write_atomic(path, sheet.encode("utf-8", "replace"), private=True)

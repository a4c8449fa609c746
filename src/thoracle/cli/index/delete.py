"""`thoracle index delete INDEX --patient P`: a patient or a scan leaves, and no file keeps anything of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoracle.cli.index import IndexLocation, index

if TYPE_CHECKING:
    from thoracle.search.record import Record


@index.command()
def delete(
    index_location: IndexLocation,
    *,
    patient: Annotated[str | None, typer.Option(help="All scans of a patient.")] = None,
    scan: Annotated[str | None, typer.Option("--scan", metavar="ACCESSION", help="All volumes of a scan.")] = None,
    site_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Key of the pseudonyms, for real names.")] = None,
) -> None:
    """Delete a patient or a scan, by pseudonym, or by real name where the site's key is at hand.

    No file of the index keeps anything of them: report, words, latents of scan and report, slices. A server erases in its own time. What
    chat and prompts keep of the same voxels and texts in the caches of this user goes too, and is listed.

    Exit status: 0 all well, 1 some file could not be erased, 2 the command was wrong.
    """
    from thoracle.errors import InputError
    from thoracle.inference.patient_caches import cached_prompt_files, cached_scan_files
    from thoracle.search.lookup import find_patient, find_scan, site_key_for
    from thoracle.search.open_index import open_index_for_writing, open_reports

    if (patient is None) == (scan is None):
        raise InputError("expected a patient or a scan", hint="Give one of --patient and --scan.")
    with open_index_for_writing(index_location) as backend, open_reports(index_location, write=True) as reports:
        key = site_key_for(backend, site_key, outside=Path(index_location))
        records: list[Record] = []
        deleted: dict[str, int] = {}
        parts = {"volumes": backend} if reports is None else {"reports": reports, "volumes": backend}
        for part, opened in parts.items():
            try:
                numbers = find_patient(opened, patient, key=key) if patient is not None else find_scan(opened, scan or "", key=key)
            except InputError:  # a report without a scan, a scan without one, or what a killed process has deleted
                if part == "volumes" and not records:
                    raise
                numbers = []
            records += opened.records(numbers).values()
            if numbers:
                opened.delete(numbers)
            deleted[part] = len(numbers)
        left = len(backend)
        texts = [text for record in records for text in (record.report.findings, record.report.impression, record.report.text("both"))]
        scans = cached_scan_files({value for record in records for value in (record.source_sha256, record.voxels_sha256)})
        for what, paths in (("tokens for chat", scans), ("prompts", cached_prompt_files(texts))):
            for path in paths:
                path.unlink(missing_ok=True)
                typer.echo(f"removed from the cache of {what}: {path}")
    reported = f"{deleted['reports']} reports and " if "reports" in deleted else ""
    typer.echo(f"{reported}{deleted['volumes']} volumes deleted, {left:,} left: {index_location}")

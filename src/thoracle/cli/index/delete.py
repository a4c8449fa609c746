"""`thoracle index delete INDEX --patient P`: a patient or a scan leaves, and no file keeps anything of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thoracle.cli.index import IndexLocation, index


@index.command()
def delete(
    index_location: IndexLocation,
    *,
    patient: Annotated[str | None, typer.Option(help="All scans of a patient.")] = None,
    scan: Annotated[str | None, typer.Option("--scan", metavar="ACCESSION", help="All volumes of a scan.")] = None,
    site_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Key of the pseudonyms, for real names.")] = None,
) -> None:
    """Delete a patient or a scan, by pseudonym, or by real name where the site's key is at hand.

    No file of the index keeps anything of them: report, words, latents, slices. A server erases in its own time. What chat and prompts
    keep of the same voxels and texts in the caches of this user goes too, and is listed.

    Exit status: 0 all well, 1 some file could not be erased, 2 the command was wrong.
    """
    from thoracle.errors import InputError
    from thoracle.inference.patient_caches import cached_prompt_files, cached_scan_files
    from thoracle.search.lookup import find_patient, find_scan, site_key_for
    from thoracle.search.open_index import open_index_for_writing

    if (patient is None) == (scan is None):
        raise InputError("expected a patient or a scan", hint="Give one of --patient and --scan.")
    with open_index_for_writing(index_location) as backend:
        key = site_key_for(backend, site_key, outside=Path(index_location))
        numbers = find_patient(backend, patient, key=key) if patient is not None else find_scan(backend, scan or "", key=key)
        records = backend.records(numbers).values()
        backend.delete(numbers)
        left = len(backend)
        texts = [text for record in records for text in (record.report.findings, record.report.impression, record.report.text("both"))]
        scans = cached_scan_files({value for record in records for value in (record.source_sha256, record.voxels_sha256)})
        for what, paths in (("tokens for chat", scans), ("prompts", cached_prompt_files(texts))):
            for path in paths:
                path.unlink(missing_ok=True)
                typer.echo(f"removed from the cache of {what}: {path}")
    typer.echo(f"{len(numbers)} volumes deleted, {left:,} left: {index_location}")

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

    Every file of the index is written anew without them: report, words, latents, slices. A server does so in its own time.
    """
    from thoracle.errors import InputError
    from thoracle.search.lookup import find_patient, find_scan, site_key_for
    from thoracle.search.open_index import open_index_for_writing

    if (patient is None) == (scan is None):
        raise InputError("expected a patient or a scan", hint="Give one of --patient and --scan.")
    with open_index_for_writing(index_location) as backend:
        key = site_key_for(backend, site_key, outside=Path(index_location))
        numbers = find_patient(backend, patient, key=key) if patient is not None else find_scan(backend, scan or "", key=key)
        backend.delete(numbers)
        left = len(backend)
    typer.echo(f"{len(numbers)} volumes deleted, {left:,} left: {index_location}")

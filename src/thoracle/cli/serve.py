"""`thoracle serve`: a page where a chest CT is read, searched and asked, and the API under it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thoracle.cli.app import app
from thoracle.cli.options import ModelFolder

_LIMITS = "Limits"
_ACCESS = "Access"


@app.command()
def serve(
    *,
    model: ModelFolder = None,
    regions: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Model that reads by region, for maps. The demo's beside the demo's.")
    ] = None,
    index: Annotated[str | None, typer.Option(metavar="INDEX", help="Index to search. The demo's beside the demo's.")] = None,
    index_model: Annotated[Path | None, typer.Option(metavar="DIR", help="The index's model, where this machine has not seen it.")] = None,
    read_only_index: Annotated[bool, typer.Option("--read-only-index", help="Nobody adds to the index or deletes from it.")] = False,
    scans: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the files of the index's records are, to open hits.")] = None,
    chat: Annotated[Path | None, typer.Option(metavar="DIR", help="Chat folder. The demo's beside the demo's.")] = None,
    llm_url: Annotated[str | None, typer.Option(metavar="URL", help="OpenAI-compatible server that answers from findings.")] = None,
    llm_model: Annotated[str, typer.Option(metavar="NAME", help="Which of that server's models; the only one by default.")] = "",
    device: Annotated[list[str] | None, typer.Option(help="auto, cpu, cuda:1, …; again for one worker process each.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; others need a token and --allow-host.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Holds the token; THORACLE_TOKEN in its place. One is made by default.", rich_help_panel=_ACCESS),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Name by which people reach the server; may be repeated.", rich_help_panel=_ACCESS),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="PEM", rich_help_panel=_ACCESS)] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="PEM", rich_help_panel=_ACCESS)] = None,
    trust_proxy: Annotated[str, typer.Option(metavar="IP", help="Address of a proxy that says who asks.", rich_help_panel=_ACCESS)] = "",
    proxy_user_header: Annotated[str, typer.Option(metavar="NAME", help="Its header with the user.", rich_help_panel=_ACCESS)] = "",
    audit_log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Who did what to which scan, without names. In the work folder by default.")
    ] = None,
    work: Annotated[Path | None, typer.Option(metavar="DIR", help="Uploads and results; emptied at start and at exit.")] = None,
    upload_limit: Annotated[float, typer.Option(metavar="GIB", help="Of one upload.", rich_help_panel=_LIMITS)] = 4.0,
    disk_limit: Annotated[float, typer.Option(metavar="GIB", help="Of all open scans.", rich_help_panel=_LIMITS)] = 64.0,
    open_scans: Annotated[int, typer.Option(min=1, help="At once.", rich_help_panel=_LIMITS)] = 50,
    queue: Annotated[int, typer.Option(min=1, help="Jobs that wait; more are refused.", rich_help_panel=_LIMITS)] = 32,
    job_seconds: Annotated[float, typer.Option(help="Of one job.", rich_help_panel=_LIMITS)] = 600.0,
    job_memory: Annotated[float, typer.Option(metavar="GIB", help="Of one job.", rich_help_panel=_LIMITS)] = 16.0,
    expire: Annotated[float, typer.Option(metavar="HOURS", help="Without use, until a scan is deleted.", rich_help_panel=_LIMITS)] = 8.0,
) -> None:
    """Serve a page and an API on this machine: open, read, map, search and ask chest CT. Research use only; not a medical device.

    Without options it serves what `thoracle demo` made. The address that is printed has the token; who has it may do all.
    """
    from thoracle.cli.findings_table import notify
    from thoracle.serving.start import Address, default_models, run, server_settings

    models = default_models(
        detector=model,
        regions=regions,
        index=index,
        index_model=index_model,
        read_only_index=read_only_index,
        scans=scans,
        chat=chat,
        llm_url=llm_url,
        llm_model=llm_model,
        notify=notify,
    )
    address = Address(host=host, port=port, names=tuple(allow_host or ()), tls_cert=tls_cert, tls_key=tls_key)
    settings = server_settings(
        models,
        address,
        token_file=token_file,
        work=work,
        audit_log=audit_log,
        devices=tuple(device or ("auto",)),
        proxy=trust_proxy,
        user_header=proxy_user_header,
        upload_bytes=round(upload_limit * 2**30),
        disk_bytes=round(disk_limit * 2**30),
        open_scans=open_scans,
        waiting=queue,
        job_seconds=job_seconds,
        job_bytes=round(job_memory * 2**30),
        expires_after=expire * 3600,
    )
    run(settings, address, say=typer.echo, warn=notify)

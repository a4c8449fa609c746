"""`thoracle import`: a published file becomes a model folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console

from thoracle.cli.app import app
from thoracle.errors import InputError
from thoracle.files.json_file import read_json_object
from thoracle.models.hub.download import fetch_tokenizer
from thoracle.types import RESEARCH_USE

if TYPE_CHECKING:
    from thoracle.models.bundle.import_published import ImportReport


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A published checkpoint: .pt, .pth, .bin or .safetensors, or a folder of several.")],
    out: Annotated[Path, typer.Option("--out", help="The model folder to write.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="JSON with what tensors do not say: heads, image size, text model.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", help="Folder of the model's own tokenizer, or owner/name on the hub.")
    ] = None,
) -> None:
    """Make a model folder from a published file. No code in the file is run."""
    from thoracle.inference.model_locations import register
    from thoracle.models.bundle.import_published import import_checkpoint
    from thoracle.models.hub.catalogue import published_name

    settings = None if config is None else _read_config(config)
    with tempfile.TemporaryDirectory() as scratch:
        words = None if tokenizer is None else _tokenizer_folder(tokenizer, Path(scratch))
        report = import_checkpoint(file, out=out, config=settings, tokenizer=words)
    name = published_name(report.files[-1], kind=report.folder.kind)
    register(report.folder.path, report.folder.weights_sha256, *filter(None, [name]))
    _print(report, name=name)


def _read_config(path: Path) -> Mapping[str, Any]:
    return read_json_object(
        path,
        parse=dict,
        refusal=InputError,
        detail="--config cannot be read",
        hint="Give a JSON object, with keys as in the published configuration.",
    )


def _tokenizer_folder(name: str, scratch: Path) -> Path:
    """The folder of that name, or what the hub has under it; says so before it asks."""
    folder = Path(name)
    if folder.exists() or name.count("/") != 1:
        return folder
    hub = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname
    typer.echo(f"{name} is no folder here: {hub} is asked for a repository of that name.", err=True)
    return fetch_tokenizer(name, out=scratch)


def _print(report: ImportReport, *, name: str | None) -> None:
    from thoracle.models.common.tensor_names import summarize_names
    from thoracle.models.encoder import Capability

    console, folder = Console(soft_wrap=True, highlight=False), report.folder
    console.print(f"Recognised: {folder.spec.title}, {report.parameters:,} parameters", markup=False)
    if report.unwrapped:
        console.print(f"Unwrapped:  names without {', '.join(report.unwrapped)}", markup=False)
    for sentence in report.assumptions:
        console.print(f"Assumed:    {sentence}", markup=False)
    if report.dropped:
        console.print(f"Dropped:    {summarize_names(report.dropped)} (not needed)", markup=False)
    console.print(f"Sizes:      {folder.config}", markup=False)
    console.print(f"Licence:    {folder.licence}", markup=False)
    for paper in folder.citations:
        console.print(f"To cite:    {paper}", markup=False)
    console.print(f"Written:    {folder.path}", markup=False)
    prompted = Capability.ZERO_SHOT in folder.capabilities
    if prompted or Capability.LABELS in folder.capabilities:
        needs = "" if folder.tokenizer_sha256 or not prompted else " (needs the tokenizer: import again with --tokenizer DIR)"
        console.print(f"Next:       thoracle detect SCAN --model {name or folder.path}{needs}", markup=False)
    console.print(RESEARCH_USE)

"""Which model a verb takes where none is named: the one that `thoracle demo` trained on this machine."""

from __future__ import annotations

from pathlib import Path

import typer


def model_or_demo(given: Path | None) -> Path:
    """The folder that was given, or the demo's; which of the two is said.

    Raises:
        InputError: none was given, and the demo has not run here.
    """
    from thoracle.errors import InputError
    from thoracle.inference.files import demo_model

    if given is not None:
        return given
    folder = demo_model()
    if not (folder / "config.json").is_file():
        cure = "Give --model DIR, as `thoracle import` makes it, or run `thoracle demo` once: its model knows only phantoms."
        raise InputError("no --model was given, and the demo has not run on this machine", cure=cure)
    typer.echo("No --model was given: this is the demo's, which knows only phantoms.", err=True)
    return folder

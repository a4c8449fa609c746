"""Choose the model that is used where none is named: the one that `thoracle demo` trained on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from thoracle.errors import InputError
from thoracle.inference.demo.locations import demo_model

Notify = Callable[[str], None]


def model_or_demo(folder: Path | None, *, notify: Notify) -> Path:
    """Return the given model folder, or the demo's.

    Args:
        folder: that was named, if any.
        notify: takes a sentence that says so where the demo's is used.

    Raises:
        InputError: none was named, and the demo has not run here.
    """
    if folder is not None:
        return folder
    demo = demo_model()
    if not (demo / "config.json").is_file():
        hint = "Give --model DIR, as `thoracle import` makes it, or run `thoracle demo` once: its model knows only phantoms."
        raise InputError("no --model was given, and the demo has not run on this machine", hint=hint)
    notify("No --model was given: this is the demo's, which knows only phantoms.")
    return demo

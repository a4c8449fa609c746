"""Load the model that an index was made with, and compare models with that one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from thoracle.errors import IndexMismatch
from thoracle.inference.demo.default_model import Notify, model_or_demo
from thoracle.inference.model_locations import lookup, register
from thoracle.search.backend import IndexBackend

if TYPE_CHECKING:
    from thoracle.inference.model import Model


def model_of(index: IndexBackend, *, folder: Path | None, device: str, notify: Notify) -> Model:
    """Load an index's model from the named folder, from where this machine remembers it, or the demo's.

    Args:
        index: names the weights it was made with.
        folder: goes first, and is remembered.
        device: as `load`.
        notify: takes a sentence that says so where the demo's is used.

    Raises:
        InputError: no folder is named, none is remembered, and the demo has not run here.
        ThoracleError: as `load`.
    """
    from thoracle.inference.model import load  # a query of keywords needs no torch

    path = folder or lookup(str(index.settings.get("model"))) or model_or_demo(None, notify=notify)
    model = load(path, device=device)
    if folder is not None:
        register(model.folder.path, model.folder.weights_sha256)
    return model


def check_same_model(index: IndexBackend, model: Model) -> None:
    """Raise IndexMismatch where a model's latents cannot be compared with the index's."""
    settings = model.settings()
    mismatched = [what for what in ("model", "preprocess") if index.settings.get(what) != settings[what]]
    if mismatched:
        before, now = (
            str(recorded.get(mismatched[0]))[:12] if mismatched[0] == "model" else recorded.get(mismatched[0])
            for recorded in (index.settings, settings)
        )
        raise IndexMismatch(
            f"the index was made with another {mismatched[0]} ({before}, not {now}); latents cannot be compared",
            hint="Give the model it was made with, or make an index with this one; --keyword and --similar-to need no model.",
        )

"""Load the model that an index was made with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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

"""Open the model folder that a run goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from thoracle.ct.preprocess import Preprocessing
from thoracle.errors import InputError
from thoracle.models.bundle.model_folder import ModelFolder, open_model

#: In a run's folder: the hash of the weights that it went on from.
_START: Final = "start.sha256"


def open_start_model(start: str, preprocess: Preprocessing) -> ModelFolder:
    """Open a model folder to start from; raises InputError if it was made for another preprocessing, and like `open_model`."""
    folder = open_model(Path(start))
    if folder.preprocess != preprocess:
        raise InputError("was made for another preprocessing", hint="Prepare the cohort with its config.json.", source=folder.path)
    return folder


def start_files(start: ModelFolder) -> dict[str, bytes]:
    """Return what a new run's folder holds of the model that it goes on from."""
    return {_START: start.weights_sha256.encode()}


def require_same_start(run: Path, start: ModelFolder) -> None:
    """Raise InputError if a run that is there was begun from other weights: its checkpoints have none of those that do not learn."""
    file = run / _START
    if file.is_file() and file.read_text() != start.weights_sha256:
        hint = "Give that model, or begin a run in another folder."
        raise InputError(f"has other weights than the model that {run.name} was begun from", hint=hint, source=start.path)

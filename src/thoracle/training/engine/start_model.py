"""Open the model folder that a run goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from thoracle.ct.preprocess import Preprocessing
from thoracle.errors import InputError
from thoracle.models.bundle.fingerprint import model_fingerprint
from thoracle.models.bundle.model_folder import ModelFolder, open_model

#: In a run's folder: the hash of the model that it reads again whenever it goes on.
_START: Final = "start.sha256"


def open_start_model(start: str, preprocess: Preprocessing) -> ModelFolder:
    """Open a model folder to start from; raises InputError if it was made for another preprocessing, and like `open_model`."""
    folder = open_model(Path(start))
    if folder.preprocess != preprocess:
        raise InputError("was made for another preprocessing", hint="Prepare the cohort with its config.json.", source=folder.path)
    return folder


def start_files(start: ModelFolder) -> dict[str, bytes]:
    """Return what a new run's folder holds of the model that it reads again whenever it goes on."""
    return {_START: model_fingerprint(start).encode()}


def require_same_start(run: Path, start: ModelFolder) -> None:
    """Raise InputError if a run that is there was begun from another model: its checkpoints have no weights that do not learn."""
    file = run / _START
    if file.is_file() and file.read_text() != model_fingerprint(start):
        detail = f"is not the model that {run.name} was begun from: its weights, sizes or recipe are others"
        raise InputError(detail, hint="Give that model, or begin a run in another folder.", source=start.path)

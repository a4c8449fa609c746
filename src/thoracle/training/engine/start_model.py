"""Open the model folder that a run goes on from."""

from __future__ import annotations

from pathlib import Path

from thoracle.ct.preprocess import Preprocessing
from thoracle.errors import InputError
from thoracle.models.bundle.model_folder import ModelFolder, open_model


def open_start_model(start: str, preprocess: Preprocessing) -> ModelFolder:
    """Open a model folder to start from; raises InputError if it was made for another preprocessing, and like `open_model`."""
    folder = open_model(Path(start))
    if folder.preprocess != preprocess:
        raise InputError("was made for another preprocessing", hint="Prepare the cohort with its config.json.", source=folder.path)
    return folder

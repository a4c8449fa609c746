"""The model that a run goes on from: opened, or refused because its volumes are others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from thoracle.errors import InputError, ModelFolderInvalid
from thoracle.inference.demo.assets import write_model
from thoracle.models.bundle.model_folder import ModelFolder
from thoracle.training.engine.start_model import open_start_model


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return write_model(tmp_path_factory.mktemp("start") / "model")


def test_a_model_of_the_same_volumes_is_opened(start: ModelFolder) -> None:
    assert start.preprocess is not None
    folder = open_start_model(str(start.path), replace(start.preprocess))
    assert (folder.path, folder.weights_sha256) == (start.path, start.weights_sha256)


@pytest.mark.parametrize("change", [{"spacing": (6.0, 3.0, 3.5)}, {"hu_window": (-1000.0, 200.0)}, {"clip_stage": "after-resampling"}])
def test_a_model_of_other_volumes_is_refused(change: dict, start: ModelFolder) -> None:
    assert start.preprocess is not None
    preprocess = replace(start.preprocess, **change)
    assert preprocess != start.preprocess
    with pytest.raises(InputError, match="made for another preprocessing") as caught:
        open_start_model(str(start.path), preprocess)
    assert caught.value.source == str(start.path)


def test_a_folder_that_is_not_there_is_refused_by_its_name(start: ModelFolder, tmp_path: Path) -> None:
    assert start.preprocess is not None
    with pytest.raises(ModelFolderInvalid, match="nowhere: is not a model folder"):
        open_start_model(str(tmp_path / "nowhere"), start.preprocess)

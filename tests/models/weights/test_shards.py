"""Weights in several files come together as their index says, and an index that lies is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from thoracle.errors import CheckpointDamaged, CheckpointIncomplete, ModelError
from thoracle.models.weights.shards import find_weights, is_index, read_weights, weight_files

STATE = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}


def sharded(folder: Path, **places: str) -> Path:
    save_file({"a": STATE["a"], "unlisted": torch.zeros(1)}, folder / "model-00001-of-00002.safetensors")
    torch.save({"b": STATE["b"]}, folder / "model-00002-of-00002.bin")
    places = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.bin"} | places
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 28}, "weight_map": places}))
    return index


def test_an_index_gives_the_tensors_that_it_names(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    assert find_weights(tmp_path) == index
    tensors = read_weights(index)
    assert tensors.keys() == STATE.keys()
    assert all(torch.equal(tensor, STATE[name]) for name, tensor in tensors.items())
    assert [file.name for file in weight_files(tmp_path)] == [index.name, "model-00001-of-00002.safetensors", "model-00002-of-00002.bin"]


def test_one_file_is_read_as_it_is_and_goes_before_an_index(tmp_path: Path) -> None:
    sharded(tmp_path)
    save_file({"c": torch.zeros(1)}, tmp_path / "model.safetensors")
    file = find_weights(tmp_path)
    assert file == tmp_path / "model.safetensors"
    assert not is_index(file)
    assert read_weights(file).keys() == {"c"}
    assert weight_files(file) == (file,)


def test_a_folder_without_weights_has_none(tmp_path: Path) -> None:
    assert find_weights(tmp_path) is None
    assert weight_files(tmp_path) == (tmp_path,)


@pytest.mark.parametrize(
    ("places", "error", "says"),
    [
        ({"a": "gone.safetensors"}, CheckpointIncomplete, "1 files that are not there: gone.safetensors"),
        ({"c": "model-00002-of-00002.bin"}, CheckpointIncomplete, "lack: c"),
        ({"a": "../secret.safetensors"}, CheckpointDamaged, "another folder"),
        ({"a": "model.safetensors.index.json"}, CheckpointDamaged, "another folder"),
    ],
)
def test_an_index_that_is_wrong_is_refused(places: dict[str, str], error: type[ModelError], says: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=says):
        read_weights(sharded(tmp_path, **places))


@pytest.mark.parametrize("text", ["{}", '{"weight_map": {}}', '{"weight_map": 3}', "nonsense"])
def test_what_is_no_index_is_refused(text: str, tmp_path: Path) -> None:
    sharded(tmp_path).write_text(text)
    with pytest.raises(CheckpointDamaged, match="no index of weights"):
        read_weights(tmp_path / "model.safetensors.index.json")

"""Preprocessing is read from each of the files that hold it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from thoracle.cohort.preprocess_file import read_preprocess
from thoracle.config_reader import config_to_mapping
from thoracle.ct.preprocess import PreprocessConfig, Preprocessing
from thoracle.ct.recipes.published import ASTRA_CHEST, COLIPRI
from thoracle.errors import InputError

CONFIG = PreprocessConfig(size=(8, 16, 16))


@pytest.mark.parametrize("config", [CONFIG, COLIPRI, ASTRA_CHEST])
def test_json_yaml_and_what_lies_in_a_configuration(config: Preprocessing, tmp_path: Path) -> None:
    values = json.loads(json.dumps(config_to_mapping(config)))
    for name, content in (
        ("config.json", json.dumps({"kind": "ct-clip", "preprocess": values})),
        ("alone.json", json.dumps(values)),
        ("train.yaml", yaml.safe_dump({"seed": 1, "preprocess": values})),
    ):
        (tmp_path / name).write_text(content)
        assert read_preprocess(tmp_path / name) == config


@pytest.mark.parametrize("content", [b"", b"[1]", b"preprocess: 3", b"{", b"\xff\xfe\x00", b"surprise: 1"])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(InputError):
        read_preprocess(tmp_path / "other")
    with pytest.raises(InputError, match="no JSON or YAML"):
        read_preprocess(tmp_path / "absent")

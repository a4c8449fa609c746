"""`thoracle import` as a person runs it: what it prints, what it refuses, what it leaves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

import thoracle.cli.import_  # noqa: F401 - adds the verb
from thoracle.cli.app import app
from thoracle.errors import CheckpointUnsafe, FetchFailed, InputError, TokenizerMissing
from thoracle.models.bundle.model_folder import open_model
from thoracle.models.text.tokenizer import Tokenizer
from thoracle.types import RESEARCH_USE


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


def test_a_golden_file_becomes_a_model(golden_dir: Path, tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.mkdir()
    (words / "vocab.txt").write_bytes(Tokenizer.from_words(["Lung nodule is present."]).files["vocab.txt"])
    source = golden_dir / "published"
    out = tmp_path / "model"
    result = run(source / "ctclip2_checkpoint.pt", "--out", out, "--config", source / "ctclip2_config.json", "--tokenizer", words)
    assert result.exit_code == 0, result.exception
    for part in (
        "CT-CLIP",
        "448,171 parameters",
        "position_ids",
        "CC BY-NC-SA",
        f"thoracle detect SCAN --model {out}",
        "dim=48",
        RESEARCH_USE,
    ):
        assert part in result.stdout
    assert "import again" not in result.stdout
    assert open_model(out, verify=True).tokenizer().vocab_size < 120


def test_assumptions_and_the_missing_tokenizer_are_printed(golden_dir: Path, tmp_path: Path) -> None:
    result = run(golden_dir / "published" / "ctclip2_checkpoint.pt", "--out", tmp_path / "m")
    for part in ("Assumed:    bert.num_attention_heads is 1", "20 x 20", "4 x 4", "n_frames is 240", "import again with --tokenizer DIR"):
        assert part in result.stdout


def test_code_does_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path}/ran",)

    torch.save({"model": Evil()}, tmp_path / "x.pt")
    assert isinstance(run(tmp_path / "x.pt", "--out", tmp_path / "m").exception, CheckpointUnsafe)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.pt"]


@pytest.mark.parametrize("content", ["", "[]", "nonsense"])
def test_a_config_that_is_no_json_object_is_a_wrong_command(tmp_path: Path, content: str) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "x.pt")
    (tmp_path / "c.json").write_text(content)
    assert isinstance(run(tmp_path / "x.pt", "--out", tmp_path / "m", "--config", tmp_path / "c.json").exception, InputError)
    assert isinstance(run(tmp_path / "x.pt", "--out", tmp_path / "m", "--config", tmp_path / "absent.json").exception, InputError)


def test_a_config_that_contradicts_is_a_wrong_command(golden_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"ctvit": {"dim": 512}}))
    result = run(golden_dir / "published" / "ctclip_checkpoint.pt", "--out", tmp_path / "m", "--config", tmp_path / "c.json")
    assert isinstance(result.exception, InputError)
    assert "512" in str(result.exception)
    assert "64" in str(result.exception)


def test_a_folder_without_a_tokenizer_is_named(golden_dir: Path, tmp_path: Path) -> None:
    result = run(golden_dir / "published" / "ctclip2_checkpoint.pt", "--out", tmp_path / "m", "--tokenizer", tmp_path)
    assert isinstance(result.exception, TokenizerMissing)


def test_a_hub_name_is_fetched(golden_dir: Path, tmp_path: Path, hub: Any) -> None:
    name = "microsoft/BiomedVLP-CXR-BERT-specialized"
    hub.repositories[name] = {**Tokenizer.from_words(["Lung nodule"]).files, "tokenization_cxrbert.py": b"raise SystemExit"}
    result = run(golden_dir / "published" / "ctclip2_checkpoint.pt", "--out", tmp_path / "m", "--tokenizer", name)
    assert result.exit_code == 0, result.exception
    assert set(open_model(tmp_path / "m").tokenizer().files) == {"vocab.txt"}
    assert f"{name} is no folder here: 127.0.0.1 is asked for a repository of that name." in result.stderr


def test_a_name_is_said_before_the_hub_is_asked(golden_dir: Path, tmp_path: Path, hub: Any) -> None:
    result = run(golden_dir / "published" / "ctclip2_checkpoint.pt", "--out", tmp_path / "m", "--tokenizer", "models/tok")
    assert isinstance(result.exception, FetchFailed)
    assert hub.log
    assert "models/tok is no folder here: 127.0.0.1 is asked" in result.stderr
    (tmp_path / "models").mkdir()
    result = run(golden_dir / "published" / "ctclip2_checkpoint.pt", "--out", tmp_path / "m", "--tokenizer", tmp_path / "models")
    assert "is asked" not in result.stderr

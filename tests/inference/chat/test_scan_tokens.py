"""Tokens of a scan are computed once for its voxels, weights and precision, and a disk that takes none costs no answer."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from thoracle.errors import InputError
from thoracle.inference.chat.scan_tokens import scan_tokens, tokens_of
from thoracle.inference.model import Model, load
from thoracle.inference.prepare import PreparedVolume
from thoracle.models.chat import scan_tokens as storage
from thoracle.models.chat.scan_tokens import ScanTokens


@pytest.fixture
def encoder(model_dir: Path) -> Model:
    return load(model_dir, device="cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _scan(encoder: Model, seed: int) -> PreparedVolume:
    array = np.random.default_rng(seed).normal(-0.5, 0.1, encoder.preprocess.size).astype(np.float32)
    return PreparedVolume(array=array, provenance=None, warnings=())


def test_a_scan_is_encoded_once_and_another_for_itself(encoder: Model, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan, encode, count = _scan(encoder, 1), encoder.encode_tokens, [0]

    def counted(volume: PreparedVolume) -> object:
        count[0] += 1
        return encode(volume)

    monkeypatch.setattr(encoder, "encode_tokens", counted)
    first = scan_tokens(encoder, scan)
    assert torch.equal(first, ScanTokens(encoder.folder).compress(encode(scan)))
    assert torch.equal(scan_tokens(encoder, scan), first)
    assert count == [1]
    assert not torch.equal(scan_tokens(encoder, _scan(encoder, 2)), first)
    assert count == [2]
    assert len(list(cache.rglob("*.safetensors"))) == 2


def test_an_encoder_is_looked_into_once_and_another_for_itself(encoder: Model, model_dir: Path) -> None:
    other = load(model_dir, device="cpu")
    assert tokens_of(encoder) is tokens_of(encoder)
    assert tokens_of(other) is not tokens_of(encoder)
    assert tokens_of(other).fingerprint == tokens_of(encoder).fingerprint


def test_another_precision_has_tokens_of_its_own(encoder: Model, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan_tokens(encoder, _scan(encoder, 1))
    monkeypatch.setattr(encoder, "precision", "bf16")
    scan_tokens(encoder, _scan(encoder, 1))
    assert len(list(cache.rglob("*.safetensors"))) == 2


def test_a_damaged_file_is_computed_again(encoder: Model, cache: Path) -> None:
    first = scan_tokens(encoder, _scan(encoder, 1))
    (file,) = cache.rglob("*.safetensors")
    content = file.read_bytes()
    file.write_bytes(content[:20])
    assert torch.equal(scan_tokens(encoder, _scan(encoder, 1)), first)
    assert file.read_bytes() == content


def test_a_full_disk_is_logged_and_costs_no_answer(
    encoder: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    expected = scan_tokens(encoder, _scan(encoder, 2))
    monkeypatch.setattr(storage, "write_atomic", full)
    with caplog.at_level(logging.INFO):
        tokens = scan_tokens(encoder, _scan(encoder, 1))
    assert tokens.shape == expected.shape
    assert "tokens are not kept: No space left on device" in caplog.text


def test_a_scan_of_another_model_is_refused(encoder: Model) -> None:
    with pytest.raises(InputError):
        scan_tokens(encoder, PreparedVolume(array=np.zeros((1, 2, 3), np.float32), provenance=None, warnings=()))

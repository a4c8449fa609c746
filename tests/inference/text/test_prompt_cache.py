from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from thoracle.inference.text.prompt_cache import cached_prompt_latents, prompt_key

SHAPE = (4, 3)
SETTINGS = {"weights_sha256": "a" * 64, "tokenizer": "t", "prompts": ("X is present.", "X is not present."), "precision": "float32"}


class Encoder:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self) -> Tensor:
        self.runs += 1
        return torch.arange(12.0).view(SHAPE)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THORACLE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path, cache: Path) -> Path:
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


def test_prompts_are_encoded_once(folder: Path) -> None:
    encoder = Encoder()
    first, second = (cached_prompt_latents(folder, key="k", shape=SHAPE, texts=("x", "y"), compute=encoder) for _ in range(2))
    assert encoder.runs == 1
    assert torch.equal(first, second)
    assert [path.name for path in folder.iterdir()] == ["prompt-latents-k.safetensors"]


@pytest.mark.parametrize(
    "changed",
    [{"weights_sha256": "b" * 64}, {"tokenizer": "u"}, {"precision": "bf16"}, {"prompts": ("X is present. ", "X is not present. ")}],
    ids=lambda changed: next(iter(changed)),
)
def test_whatever_latents_depend_on_changes_their_key(changed: dict[str, object]) -> None:
    assert prompt_key(**SETTINGS) == prompt_key(**SETTINGS)
    assert prompt_key(**{**SETTINGS, **changed}) != prompt_key(**SETTINGS)


@pytest.mark.parametrize("keep", [0, 7, 60, -1])
def test_a_cut_file_is_computed_again_and_mended(folder: Path, keep: int) -> None:
    encoder = Encoder()
    expected = cached_prompt_latents(folder, key="k", shape=SHAPE, texts=("x", "y"), compute=encoder)
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:keep])
    assert torch.equal(cached_prompt_latents(folder, key="k", shape=SHAPE, texts=("x", "y"), compute=encoder), expected)
    assert torch.equal(cached_prompt_latents(folder, key="k", shape=SHAPE, texts=("x", "y"), compute=encoder), expected)
    assert encoder.runs == 2


def test_one_flipped_bit_is_found(folder: Path) -> None:
    encoder = Encoder()
    expected = cached_prompt_latents(folder, key="k", shape=SHAPE, texts=("x", "y"), compute=encoder)
    (path,) = folder.iterdir()
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    assert torch.equal(cached_prompt_latents(folder, key="k", shape=SHAPE, texts=("x", "y"), compute=encoder), expected)


def test_a_renamed_file_is_not_believed(folder: Path) -> None:
    encoder = Encoder()
    cached_prompt_latents(folder, key="k", shape=SHAPE, texts=("x", "y"), compute=encoder)
    (folder / "prompt-latents-k.safetensors").rename(folder / "prompt-latents-other.safetensors")
    cached_prompt_latents(folder, key="other", shape=SHAPE, texts=("x", "y"), compute=encoder)
    assert encoder.runs == 2


def test_latents_of_another_shape_are_not_used(folder: Path) -> None:
    encoder = Encoder()
    cached_prompt_latents(folder, key="k", shape=SHAPE, texts=("x", "y"), compute=encoder)
    cached_prompt_latents(folder, key="k", shape=(6, 2), texts=(), compute=encoder)
    assert encoder.runs == 2


def test_where_the_model_cannot_be_written_the_users_cache_is_used(folder: Path, cache: Path) -> None:
    encoder = Encoder()
    nowhere = folder / "file"
    nowhere.write_bytes(b"")  # a file in the folder's place: no one, root included, can write into it
    for _ in range(2):
        cached_prompt_latents(nowhere, key="k", shape=SHAPE, texts=("x", "y"), compute=encoder)
    assert encoder.runs == 1
    assert [path.name for path in cache.iterdir()] == ["prompt-latents-k.safetensors"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes where it is not allowed to")
def test_a_read_only_folder_is_left_alone(folder: Path, cache: Path) -> None:
    folder.chmod(0o500)
    cached_prompt_latents(folder, key="k", shape=SHAPE, texts=("x", "y"), compute=Encoder())
    assert not list(folder.iterdir())
    assert list(cache.iterdir())


def test_where_nothing_can_be_kept_latents_are_still_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = folder / "file"
    nowhere.write_bytes(b"")
    monkeypatch.setenv("THORACLE_CACHE", str(nowhere))
    assert torch.equal(cached_prompt_latents(nowhere, key="k", shape=SHAPE, texts=("x", "y"), compute=Encoder()), Encoder()())

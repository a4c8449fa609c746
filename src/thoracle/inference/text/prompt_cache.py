"""Latents of prompts, computed once and kept beside the model.

A kept file is named by a hash of all its numbers depend on: weights, tokenizer, the prompts themselves and the precision.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from thoracle.files.atomic import write_atomic
from thoracle.files.cache_folder import cache_dir
from thoracle.inference.patient_caches import TEXTS, text_hash

_FORMAT: Final = "thoracle.prompt-latents/1"
_log = logging.getLogger(__name__)


def prompt_key(*, weights_sha256: str, tokenizer: str, prompts: Sequence[str], precision: str) -> str:
    """Return the key in the file name of cached prompt latents.

    Args:
        weights_sha256: of the model.
        tokenizer: its fingerprint.
        prompts: in order.
        precision: the numbers' type.
    """
    content = json.dumps([_FORMAT, weights_sha256, tokenizer, list(prompts), precision])
    return hashlib.sha256(content.encode()).hexdigest()


def cached_prompt_latents(folder: Path, *, key: str, shape: tuple[int, int], texts: Sequence[str], compute: Callable[[], Tensor]) -> Tensor:
    """Return the latents cached under `key` beside the model or in the user's cache; compute and cache them otherwise.

    Args:
        folder: of the model; where it cannot be written, `cache_dir()` is used.
        key: from `prompt_key`.
        shape: (prompts, latent); a file of another shape is not used.
        texts: what the prompts were made of; the file holds their hashes, by which `thoracle index delete` finds it.
        compute: gives them, float32.
    """
    paths = [directory / f"prompt-latents-{key}.safetensors" for directory in (folder, cache_dir())]
    for path in paths:
        latents = _load(path, key=key, shape=shape)
        if latents is not None:
            return latents
    latents = compute().float().cpu().contiguous()
    _keep(paths, save({"latents": latents}, metadata={"key": key, "digest": _digest(latents), TEXTS: " ".join(map(text_hash, texts))}))
    return latents


def _load(path: Path, *, key: str, shape: tuple[int, int]) -> Tensor | None:
    """None where there is no file, or one that is damaged or of something else."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            latents: Tensor = file.get_tensor("latents")
    except (SafetensorError, OSError) as error:
        _log.warning("prompt latents are computed again: %s", error)
        return None
    sound = latents.shape == shape and latents.dtype == torch.float32 and metadata.get("key") == key
    return latents if sound and metadata.get("digest") == _digest(latents) else None


def _digest(latents: Tensor) -> str:
    return hashlib.sha256(latents.numpy().tobytes()).hexdigest()


def _keep(paths: Sequence[Path], content: bytes) -> None:
    for path in paths:
        try:
            write_atomic(path, content)
        except OSError as error:  # a read-only model folder is usual; a full disk costs time, not the run
            _log.info("prompt latents are not kept in %s: %s", path.parent, error.strerror)
        else:
            return

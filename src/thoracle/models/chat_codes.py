"""Scans as the numbers of their codes, each in a small file, so that an encoder sees a scan once; knows no scan's name.

Tokens are rows of the encoder's codebook: 14,000 numbers of two bytes stand for 28 MB of them.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from thoracle.files import write_atomic

_MOST_BYTES: Final = 1 << 24


class CodeStore:
    """Codes (T, h, w) of scans in a folder, by a key that is hashed: names of patients do not become names of files."""

    def __init__(self, folder: Path, *, encoder_sha256: str, grid: tuple[int, int, int]) -> None:
        self._folder, self._encoder, self._grid = folder / f"codes-{encoder_sha256[:16]}", encoder_sha256, grid

    def get(self, key: str) -> Tensor | None:
        """int64; None where there is no file, or one that is damaged or of another encoder."""
        path = self._path(key)
        try:
            if path.stat().st_size > _MOST_BYTES:
                return None
            codes = load(path.read_bytes()).get("codes")
        except (OSError, SafetensorError):
            return None
        return codes.long() if codes is not None and tuple(codes.shape) == self._grid and not codes.is_floating_point() else None

    def put(self, key: str, codes_THW: Tensor) -> None:
        """Whole or not at all."""
        codes = codes_THW.view(self._grid).to(torch.int32).cpu().contiguous()
        write_atomic(self._path(key), save({"codes": codes}))

    def _path(self, key: str) -> Path:
        return self._folder / f"{sha256(f'{self._encoder} {key}'.encode()).hexdigest()[:40]}.safetensors"

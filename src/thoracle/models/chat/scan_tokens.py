"""Compress a scan's tokens for a chat model, so that an encoder sees a scan once.

Tokens are rows of the encoder's codebook, kept as the rows' numbers: 14,000 numbers of four bytes stand for 28 MB. Where the encoder's own
latents are read before the codebook (a pool of the grid), so are these tokens, and they are kept in half precision.

Shapes: I scans, T h w tokens of a scan, C their width, K codes.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from thoracle.errors import CapabilityMissing
from thoracle.files.atomic import make_private_folder, write_atomic
from thoracle.models.bundle.model_folder import ModelFolder, load_state_dict
from thoracle.models.encoder import Capability, VolumeEmbedding

_CODEBOOK: Final = "vq._codebook.embed"
_KEY: Final = "scan"
_MOST_BYTES: Final = 1 << 28


def check_gives_codes(encoder: ModelFolder) -> None:
    """Raise CapabilityMissing where a model gives no codes."""
    if Capability.CODES not in encoder.capabilities:
        raise CapabilityMissing(f"is {encoder.spec.title}, which gives no codes", hint="Give CT-CHAT's encoder.", source=encoder.path)


class ScanTokens:
    """Compress and expand one encoder's tokens.

    Attributes:
        grid: T, h, w.
        width: C.
        before_codebook: whether they are tokens as they were before the codebook.

    Raises:
        CapabilityMissing: the model encodes no volume.
        ModelFolderInvalid: damaged.
    """

    def __init__(self, encoder: ModelFolder) -> None:
        check_gives_codes(encoder)
        ctvit = encoder.config.image_encoder
        assert encoder.preprocess is not None, "models that take volumes have it"
        self.grid = (encoder.preprocess.size[0] // ctvit.temporal_patch_size, ctvit.grid, ctvit.grid)
        self.width = ctvit.dim
        self.before_codebook = not encoder.config.reads_codes
        self._codebook_KC = None if self.before_codebook else _codebook(encoder)

    def compress(self, encoded: VolumeEmbedding) -> Tensor:
        """Compress one scan on the CPU: codes (T, h, w) int32, or tokens (T, h, w, C) float16."""
        if self.before_codebook:
            return encoded.tokens[0].half().cpu()
        return cast(Tensor, encoded.codebook_indices)[0].view(self.grid).int().cpu()

    def expand(self, kept_I: Tensor) -> Tensor:
        """Expand what `compress` gave for I scans to tokens (I, T, h, w, C), float32, on their device."""
        if self._codebook_KC is None:
            return kept_I.float()
        self._codebook_KC = self._codebook_KC.to(kept_I.device)
        return self._codebook_KC[kept_I]

    def is_compatible(self, tensor: Tensor) -> bool:
        """Tell whether `compress` could have given this tensor."""
        shape, dtype = ((*self.grid, self.width), torch.float16) if self.before_codebook else (self.grid, torch.int32)
        return tuple(tensor.shape) == shape and tensor.dtype == dtype


def _codebook(encoder: ModelFolder) -> Tensor:
    return next(tensor for name, tensor in load_state_dict(encoder).items() if name.endswith(_CODEBOOK))[0].float().clone()


class TokenCache:
    """Store scans as `ScanTokens` compresses them, each in a file that its owner alone can read, by a key that is hashed: names of patients
    do not become names of files.

    An `origin`, where there is one, begins the file's name, so that the files of a scan can be found again; it is part of the key.
    """

    def __init__(self, folder: Path, tokens: ScanTokens, *, encoder_sha256: str) -> None:
        self._folder, self._tokens, self._encoder = folder / f"codes-{encoder_sha256[:16]}", tokens, encoder_sha256

    def get(self, key: str, *, origin: str = "") -> Tensor | None:
        """Read a scan's tokens; None where there is no file, or one that is damaged or of another encoder."""
        path = self.path(key, origin=origin)
        try:
            if path.stat().st_size > _MOST_BYTES:
                return None
            tensor = load(path.read_bytes()).get(_KEY)
        except (OSError, SafetensorError):
            return None
        return tensor if tensor is not None and self._tokens.is_compatible(tensor) else None

    def put(self, key: str, tensor: Tensor, *, origin: str = "") -> None:
        """Write a scan's tokens, whole or not at all."""
        make_private_folder(self._folder)
        write_atomic(self.path(key, origin=origin), save({_KEY: tensor.contiguous()}), private=True)

    def path(self, key: str, *, origin: str = "") -> Path:
        """Locate a scan's file, whether it is there or not."""
        hashed = sha256(f"{self._encoder} {key}".encode()).hexdigest()[:40]
        return self._folder / f"{'-'.join(filter(None, (origin, hashed)))}.safetensors"

"""Compress a scan's tokens for a chat model, so that an encoder sees a scan once.

Where tokens are rows of the encoder's codebook they are kept as the rows' numbers: 14,000 numbers of four bytes stand for 28 MB. All others
are kept in half precision. Their axes are those of the encoder's input.

Shapes: I scans, T h w tokens of a scan, C their width, K codes.
"""

from __future__ import annotations

from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Final, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from thoracle.errors import CapabilityMissing
from thoracle.files.atomic import make_private_folder, write_atomic
from thoracle.models.bundle.fingerprint import model_fingerprint
from thoracle.models.bundle.model_folder import ModelFolder, load_state_dict
from thoracle.models.encoder import Capability, GridEncoder, VolumeEmbedding
from thoracle.models.registry import models_with

_CODEBOOK: Final = "vq._codebook.embed"
_KEY: Final = "scan"
#: Of a file beside its one tensor.
_HEADER_BYTES: Final = 4096


def check_gives_grid(encoder: ModelFolder) -> None:
    """Raise CapabilityMissing where a model does not give all scans tokens on one regular grid."""
    if Capability.TOKEN_GRID not in encoder.capabilities:
        hint = f"Give a {models_with(Capability.TOKEN_GRID)} model."
        raise CapabilityMissing(f"is {encoder.spec.title}, which gives no {Capability.TOKEN_GRID.value}", hint=hint, source=encoder.path)
    if encoder.preprocess is not None and encoder.preprocess.varies:
        detail = f"is {encoder.spec.title} with a recipe that leaves each scan its own size: scans have no grid of tokens in common"
        raise CapabilityMissing(detail, hint="Give one whose recipe crops, pads or resizes to one size.", source=encoder.path)


class ScanTokens:
    """Compress and expand one encoder's tokens.

    Attributes:
        grid: T, h, w.
        width: C.
        shape, dtype: of a scan that is compressed.
        fingerprint: hash of all that the tokens of given voxels depend on.

    Raises:
        CapabilityMissing: the model does not give all scans tokens on one regular grid.
        ModelFolderInvalid: damaged.
    """

    def __init__(self, encoder: ModelFolder) -> None:
        check_gives_grid(encoder)
        assert encoder.preprocess is not None, "models that take volumes have it"
        with torch.device("meta"):
            module = cast(GridEncoder, encoder.spec.build(encoder.config))
        self._source = encoder.path
        self.grid = module.token_grid(encoder.preprocess.size)
        self.width = module.outputs.token_dim
        are_codes = Capability.CODES in encoder.capabilities and encoder.config.reads_codes
        self._codebook_KC = _codebook(encoder) if are_codes else None
        self.shape: tuple[int, ...]
        self.shape, self.dtype = (self.grid, torch.int32) if are_codes else ((*self.grid, self.width), torch.float16)
        self.fingerprint = model_fingerprint(encoder)

    def compress(self, encoded: VolumeEmbedding) -> Tensor:
        """Compress one scan on the CPU: codes (T, h, w) int32, or tokens (T, h, w, C) float16.

        Raises:
            CapabilityMissing: tokens that are no numbers in half precision.
        """
        if self._codebook_KC is not None:
            return cast(Tensor, encoded.codebook_indices)[0].view(self.grid).int().cpu()
        compressed = encoded.tokens[0].half().cpu()
        if not compressed.isfinite().all():
            detail = f"gives tokens of up to {encoded.tokens.abs().max().item():g}, where half precision ends at 65,504"
            raise CapabilityMissing(detail, hint="Give a trained encoder, and scans that it was made for.", source=self._source)
        return compressed

    def expand(self, kept_I: Tensor) -> Tensor:
        """Expand what `compress` gave for I scans to tokens (I, T, h, w, C), float32, on their device."""
        if self._codebook_KC is None:
            return kept_I.float()
        self._codebook_KC = self._codebook_KC.to(kept_I.device)
        return self._codebook_KC[kept_I]

    def is_compatible(self, tensor: Tensor) -> bool:
        """Tell whether `compress` could have given this tensor."""
        return tuple(tensor.shape) == self.shape and tensor.dtype == self.dtype


def _codebook(encoder: ModelFolder) -> Tensor:
    return next(tensor for name, tensor in load_state_dict(encoder).items() if name.endswith(_CODEBOOK))[0].float().clone()


class TokenCache:
    """Store scans as `ScanTokens` compresses them, each in a file that its owner alone can read, by a key that is hashed: names of patients
    do not become names of files.

    An `origin`, where there is one, begins the file's name, so that the files of a scan can be found again; it is part of the key. So is
    the encoder's fingerprint.
    """

    def __init__(self, folder: Path, tokens: ScanTokens) -> None:
        self._folder, self._tokens = folder / f"codes-{tokens.fingerprint[:16]}", tokens

    def get(self, key: str, *, origin: str = "") -> Tensor | None:
        """Read a scan's tokens; None where there is no file, or one that is damaged or of another encoder."""
        path = self.path(key, origin=origin)
        try:
            if path.stat().st_size > prod(self._tokens.shape) * self._tokens.dtype.itemsize + _HEADER_BYTES:
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
        hashed = sha256(f"{self._tokens.fingerprint} {key}".encode()).hexdigest()[:40]
        return self._folder / f"{'-'.join(filter(None, (origin, hashed)))}.safetensors"

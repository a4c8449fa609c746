"""Weights in fewer bytes, for the disk: matrices and convolutions in bfloat16, or as bytes with a scale for each row (output channel).

Arithmetic stays float32: what is compressed is restored when it is read. Vectors and the codebook stay as they are: the former are small,
and a rounded codebook is another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

import torch
from torch import Tensor

Compression = Literal["bf16", "int8"]
COMPRESSIONS: Final[tuple[Compression, ...]] = get_args(Compression)
#: After the name of a matrix of bytes, its scales (rows, 1), or (channels, 1, 1, 1, 1) of a convolution's.
_SCALES: Final = "::scales"
_LARGEST: Final = 127


def quantize(tensors: Mapping[str, Tensor], kind: Compression) -> dict[str, Tensor]:
    """Store matrices and convolutions of `tensors` in 2 bytes a weight (bf16), or in 1 and a float32 per row (int8, symmetric)."""
    decoded: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not (tensor.dim() >= 2 and name.endswith(".weight") and tensor.dtype == torch.float32):
            decoded[name] = tensor
        elif kind == "bf16":
            decoded[name] = tensor.to(torch.bfloat16)
        else:
            scales = (
                tensor.abs().amax(dim=tuple(range(1, tensor.dim())), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / _LARGEST
            )
            decoded[name] = (tensor / scales).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
            decoded[name + _SCALES] = scales
    return decoded


def dequantize(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Restore what `quantize` made as float32 under the original names; other tensors are unchanged."""
    encoded = {}
    for name, tensor in tensors.items():
        if name.endswith(_SCALES):
            continue
        scales = tensors.get(name + _SCALES)
        if scales is not None:
            encoded[name] = tensor.float() * scales
        else:
            encoded[name] = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    return encoded

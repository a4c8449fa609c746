"""Lower precision: a twin of a model whose matrix products are of another type, and what that changes.

What is lowered is the weights of `linear.Linear`. Norms, residuals, the position convolution and the codebook stay in float32.
"""

from __future__ import annotations

import copy
import logging
import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.models.common.linear import Linear
from thoracle.models.encoder import VolumeEncoder

#: The CPUID leaf that describes AMX tiles.
TILE_LEAF = 0x1D
#: Where Linux describes the CPU.
CPU_DESCRIPTION = Path("/proc/cpuinfo")

_log = logging.getLogger(__name__)
_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class PrecisionReport:
    """Report the effect of lower precision on one volume: fraction of codes that stay (None without codes), cosine of latents."""

    equal_codes: float | None
    latent_cosine: float


def to_bfloat16(model: _Module, dtype: torch.dtype) -> _Module:
    """Return a twin in evaluation mode whose linear maps are of `dtype`; all else is shared with `model`, not copied.

    On a CPU without usable bfloat16 units the weights are rounded and the arithmetic stays float32: faster than what such a CPU
    makes of bfloat16, no faster than float32. A warning is logged.
    """
    shared: dict[int, object] = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    twin = copy.deepcopy(model, shared).eval()
    maps = [module for module in twin.modules() if isinstance(module, Linear)]
    rounded_only = dtype != torch.float32 and next(model.parameters()).device.type == "cpu" and not _has_tiles()
    if rounded_only:
        _log.warning("this CPU has no bfloat16 units that can be used: weights are rounded to %s, arithmetic stays float32", dtype)
    for module in maps:
        for name, weight in list(module.named_parameters()):
            lowered = weight.detach().to(dtype)
            setattr(module, name, nn.Parameter(lowered.to(weight.dtype) if rounded_only else lowered))
    return twin


@torch.no_grad()
def compare_precision(model: VolumeEncoder, lowered: VolumeEncoder, volume_B1ZHW: Tensor) -> PrecisionReport:
    """Compare both models on the same volumes."""
    exact, rounded = model.encode_volume(volume_B1ZHW), lowered.encode_volume(volume_B1ZHW)
    codes, latents = (exact.codebook_indices, rounded.codebook_indices), (exact.latent_BL, rounded.latent_BL)
    return PrecisionReport(
        equal_codes=None if codes[0] is None else torch.eq(codes[0], cast(Tensor, codes[1])).double().mean().item(),
        latent_cosine=F.cosine_similarity(cast(Tensor, latents[0]), cast(Tensor, latents[1])).mean().item(),
    )


def _has_tiles() -> bool:
    """Whether matrix tiles (AMX) can be used. Some virtual machines show them but hide the leaf that describes them: oneDNN then ends
    the process by an illegal instruction. Without tiles, bfloat16 products take twice the time of float32 ones."""
    try:
        cpu = CPU_DESCRIPTION.read_text()
    except OSError:
        return False
    level = re.search(r"^cpuid level\s*:\s*(\d+)", cpu, re.MULTILINE)
    return re.search(r"^flags.*\bamx_bf16\b", cpu, re.MULTILINE) is not None and level is not None and int(level[1]) >= TILE_LEAF

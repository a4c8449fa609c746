"""The codebook: which of K codes each token is nearest to, and the moving average by which the codes learn.

As in vector-quantize-pytorch 1.1.2 with `use_cosine_sim` and a learnt codebook of one head. Always in the codebook's own precision, which
stays float32 when the rest of the model is lowered: rounding flips codes.

Shapes: B batch, N tokens, D width, K codes; M = B N.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Share of a training batch in the moving average.
LEARNING_SHARE = 0.2
#: Tokens compared with the codes at once.
TOKENS_AT_ONCE = 512
#: Codes in a block of the search.
BLOCK = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantized:
    """Hold codes in the tokens' place (B, N, D), and which they are (B, N, int64)."""

    codes_BND: Tensor
    indices_BN: Tensor


class Codebook(nn.Module):
    """Hold K codes of width D, as buffers: they learn by averaging, not by gradient."""

    def __init__(self, *, dim: int, size: int) -> None:
        super().__init__()
        embed = torch.empty(1, size, dim)
        nn.init.kaiming_uniform_(embed)
        self.register_buffer("initted", torch.ones(1))
        self.register_buffer("cluster_size", torch.zeros(1, size))
        self.register_buffer("embed", F.normalize(embed, dim=-1))
        self.cluster_size: Tensor
        self.embed: Tensor
        #: Takes a training batch's `counts_K` and `sums_KD`, which otherwise move the codes at once. A step that encodes its batch in
        #: parts, or on several ranks, adds them up and calls `move` itself.
        self.on_assignment: Callable[[Tensor, Tensor], None] | None = None

    def forward(self, x_BND: Tensor) -> Quantized:
        """Assign the code of largest cosine, the first on ties. In training the gradient passes straight through, and assigned codes
        move.
        """
        with torch.autocast(x_BND.device.type, enabled=False):
            x_BND = x_BND.to(self.embed.dtype)
            tokens_MD, codes_KD = F.normalize(x_BND.detach().flatten(0, 1), dim=-1), F.normalize(self.embed[0], dim=-1)
            # One buffer for all parts: fresh pages for each would cost a fifth of the search.
            cosines = codes_KD.new_empty(TOKENS_AT_ONCE, len(codes_KD))
            parts = torch.split(tokens_MD, TOKENS_AT_ONCE)
            indices_M = torch.cat([_first_largest(torch.mm(part, codes_KD.T, out=cosines[: len(part)])) for part in parts])
            indices_BN = indices_M.view(x_BND.shape[:2])
            out_BND = F.embedding(indices_BN, self.embed[0])
            if self.training:
                out_BND = x_BND + (out_BND - x_BND).detach()
                self._average(tokens_MD, indices_M)
        return Quantized(codes_BND=out_BND, indices_BN=indices_BN)

    @torch.no_grad()
    def update_ema(self, counts_K: Tensor, sums_KD: Tensor) -> None:
        """Move codes towards the direction of their tokens' mean; codes without tokens towards their own direction.

        Args:
            counts_K: tokens a code was nearest to.
            sums_KD: their sum, each of unit norm.
        """
        codes_KD = F.normalize(self.embed[0], dim=-1)
        means_KD = torch.where(counts_K[:, None] == 0, codes_KD, F.normalize(sums_KD / counts_K.clamp(min=1)[:, None], dim=-1))
        self.cluster_size[0].lerp_(counts_K, LEARNING_SHARE)
        self.embed[0].lerp_(means_KD, LEARNING_SHARE)

    def _average(self, tokens_MD: Tensor, indices_M: Tensor) -> None:
        counts_K = torch.bincount(indices_M, minlength=self.embed.shape[1]).to(tokens_MD.dtype)
        sums_KD = torch.zeros_like(self.embed[0]).index_add_(0, indices_M, tokens_MD)
        (self.on_assignment or self.update_ema)(counts_K, sums_KD)


def _first_largest(x_MK: Tensor) -> Tensor:
    """argmax over the last axis, the first on ties: the best block, then the best in it. `amax` is an order faster than `argmax` on CPU."""
    blocks_MbK = x_MK.view(len(x_MK), -1, math.gcd(x_MK.shape[1], BLOCK))
    best_M = blocks_MbK.amax(dim=-1).argmax(dim=-1)
    rows_M = torch.arange(len(x_MK), device=x_MK.device)
    return best_M * blocks_MbK.shape[-1] + blocks_MbK[rows_M, best_M].argmax(dim=-1)

"""The layers the image encoder is built of: position bias, position convolution, cosine attention, gated feed-forward.

Attribute names are the published state-dict keys. Knows nothing of volumes, codes or text.

Shapes: S sequences, N tokens a sequence, D width, H heads, F width of a head; B batch, T time, h w grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.models.common.linear import Linear

#: Logits are this times the cosine of query and key; published as a constant.
ATTENTION_SCALE = 8.0
#: Tokens that go through attention and feed-forward together at inference: few enough for the hidden layer to stay in cache.
TOKENS_AT_ONCE = 576


class GammaNorm(nn.Module):
    """Apply a LayerNorm whose scale is called gamma, and whose shift, beta, is a buffer of zeros: saved, never trained."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))
        self.register_buffer("beta", torch.zeros(dim))
        self.beta: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Normalize over the last axis."""
        return F.layer_norm(x, x.shape[-1:], self.gamma, self.beta)


@dataclass(frozen=True, eq=False)
class _CachedBias:
    grid: tuple[int, int]
    weights: Tensor
    bias_HNN: Tensor


class PositionBias(nn.Module):
    """Add to attention logits an MLP of the signed log offset between two patches.

    An h x w grid has (h w)^2 pairs of patches but only (2h - 1)(2w - 1) offsets: the MLP sees each offset once. Without gradient, in
    evaluation, the result is kept for as long as the weights are equal to those it was computed from.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.net = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(2, dim), nn.LeakyReLU(0.1)),
                nn.Sequential(nn.Linear(dim, dim), nn.LeakyReLU(0.1)),
                nn.Linear(dim, heads),
            ]
        )
        self._cached: _CachedBias | None = None

    def forward(self, grid: tuple[int, int]) -> Tensor:
        """Return (H, h w, h w) for patches in row-major order."""
        if self.training or torch.is_grad_enabled():
            return self._bias(grid)
        weights = torch.cat([p.flatten() for p in self.parameters()])
        cached = self._cached
        if cached is None or cached.grid != grid or not _same(cached.weights, weights):
            cached = self._cached = _CachedBias(grid, weights, self._bias(grid))
        return cached.bias_HNN

    def _bias(self, grid: tuple[int, int]) -> Tensor:
        h, w = grid
        weight = next(self.parameters())
        rows = torch.arange(1 - h, h, device=weight.device)
        columns = torch.arange(1 - w, w, device=weight.device)
        offsets = torch.cartesian_prod(rows, columns).to(weight.dtype)
        out = offsets.sign() * (offsets.abs() + 1).log()
        for layer in self.net:
            out = layer(out)
        row, column = (axis.flatten() for axis in torch.meshgrid(rows[h - 1 :], columns[w - 1 :], indexing="ij"))
        offset_NN = (row[:, None] - row[None] + h - 1) * (2 * w - 1) + (column[:, None] - column[None] + w - 1)
        return out.T[:, offset_NN]


class PositionConv(nn.Module):
    """Convolve depthwise by 3 x 3 x 3 over the two time steps before, and none after."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dsconv = nn.Conv3d(dim, dim, 3, padding=(2, 1, 1), groups=dim)

    def forward(self, x_BTHWD: Tensor) -> Tensor:
        """Return the size of x."""
        x = x_BTHWD.permute(0, 4, 1, 2, 3)
        # Padded by 2 at both ends of time and cut: two steps too many cost less than a padded copy.
        # Back to the type of x: under autocast the result begins the residual, which stays float32.
        return cast(Tensor, self.dsconv(x)).to(x.dtype).permute(0, 2, 3, 4, 1)[:, : x_BTHWD.shape[1]]


class CosineAttention(nn.Module):
    """Attend by the cosine of query and key. Keys and values come from the un-normed input, as published."""

    def __init__(self, dim: int, *, heads: int, dim_head: int) -> None:
        super().__init__()
        inner = heads * dim_head
        self.heads = heads
        self.null_kv = nn.Parameter(torch.empty(heads, 0, dim_head))  # empty, but in published files
        self.q_scale = nn.Parameter(torch.ones(dim_head))
        self.k_scale = nn.Parameter(torch.ones(dim_head))
        self.norm = GammaNorm(dim)
        self.context_norm = GammaNorm(dim)  # never used, but in published files
        self.to_q = Linear(dim, inner, bias=False)
        self.to_kv = Linear(dim, 2 * inner, bias=False)
        self.to_out = Linear(inner, dim, bias=False)

    def forward(self, x_SND: Tensor, bias_HNN: Tensor | None) -> Tensor:
        """Return the size of x; `bias_HNN` is added to the logits of every sequence."""
        q, (k, v) = self.to_q(self.norm(x_SND)), self.to_kv(x_SND).chunk(2, dim=-1)
        q_SHNF, k_SHNF, v_SHNF = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        # Both scales meet in the dot product: one multiplication does for two.
        q_SHNF = (F.normalize(q_SHNF, dim=-1) * (self.q_scale * self.k_scale)).to(v_SHNF.dtype)
        k_SHNF = F.normalize(k_SHNF, dim=-1)
        mask = None if bias_HNN is None else bias_HNN[None].to(v_SHNF.dtype)
        if mask is not None and self.training and mask.device.type == "cpu":
            # A bias that learns has no fused kernel, and torch's plain one looks for rows that are masked whole: an eighth of a small
            # model's step. Also where no gradient is taken: both passes of gradient caching give the same bits.
            out_SHNF = (q_SHNF * ATTENTION_SCALE @ k_SHNF.mT + mask).softmax(dim=-1) @ v_SHNF
        else:
            out_SHNF = F.scaled_dot_product_attention(q_SHNF, k_SHNF, v_SHNF, attn_mask=mask, scale=ATTENTION_SCALE)
        return cast(Tensor, self.to_out(out_SHNF.transpose(1, 2).flatten(2)))


class FeedForward(nn.ModuleDict):
    """Apply LayerNorm, up, gate, down; the inner width is two thirds of four times the width, whole. Keys as published."""

    def __init__(self, dim: int) -> None:
        inner = int(4 * (2 / 3) * dim)
        super().__init__({"0": nn.LayerNorm(dim), "1": Linear(dim, 2 * inner, bias=False), "4": Linear(inner, dim, bias=False)})

    def forward(self, x: Tensor) -> Tensor:
        """Return the size of x. The second half of the channels, through GELU, gates the first; each half is its own product."""
        up = cast(Tensor, self["1"].weight)
        normed = self["0"](x).to(up.dtype)
        value, gate = (F.linear(normed, half) for half in up.chunk(2))
        gate = F.gelu(gate)
        return cast(Tensor, self["4"](gate * value if torch.is_grad_enabled() else gate.mul_(value)))


class Stack(nn.Module):
    """Apply position convolution, attention and feed-forward, each added to its input, `depth` times; then a norm."""

    def __init__(self, dim: int, *, depth: int, heads: int, dim_head: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleDict({"0": PositionConv(dim), "1": CosineAttention(dim, heads=heads, dim_head=dim_head), "3": FeedForward(dim)})
            for _ in range(depth)
        )
        self.norm_out = GammaNorm(dim)

    def forward(self, x_SND: Tensor, *, shape: tuple[int, int, int, int], bias_HNN: Tensor | None = None) -> Tensor:
        """Convolve; `shape` is (B, T, h, w). The convolution reads x in its memory order as (B, T, h, w, D), whatever the order of x:
        published.
        """
        for layer in cast("list[nn.ModuleDict]", self.layers):
            position, attend, feed = layer["0"], cast(CosineAttention, layer["1"]), layer["3"]
            x_SND = x_SND + position(x_SND.reshape(*shape, -1)).reshape(x_SND.shape)
            if torch.is_grad_enabled():
                x_SND = x_SND + attend(x_SND, bias_HNN)
                x_SND = x_SND + feed(x_SND)
                continue
            # Sequences do not see each other from here on: on a CPU few at a time, in place.
            lowered_HNN = None if bias_HNN is None else bias_HNN.to(attend.to_q.weight.dtype)
            for part in torch.split(x_SND, max(1, TOKENS_AT_ONCE // x_SND.shape[1]) if x_SND.is_cpu else len(x_SND)):
                part.add_(attend(part, lowered_HNN))
                part.add_(feed(part))
        return cast(Tensor, self.norm_out(x_SND))


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)

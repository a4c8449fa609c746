"""COLIPRI's image encoder: patches, blocks of attention with rotary positions, and a last norm.

Attribute names are the published state-dict keys.

Shapes: B volumes, (X, Y, Z) voxels in the order of the recipe, (x, y, z) patches, N of them, z fastest, D width, H heads, F width of a
head.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.models.colipri.config import ColipriConfig
from thoracle.models.common.linear import Linear

#: Of the frequencies of positions.
_BASE: Final = 10000.0
_GAMMA: Final = 0.1
_INITIAL_STD: Final = 0.02
_INITIAL_SLOPE: Final = 0.01


class EvaEncoder(nn.Module):
    """Encode volumes as tokens on a regular grid."""

    def __init__(self, config: ColipriConfig) -> None:
        super().__init__()
        self._config = config
        dim, patch = config.embed_dim, config.patch_size
        self.down_projection = nn.ModuleDict({"proj": nn.Conv3d(1, dim, patch, stride=patch)})
        self.eva = nn.ModuleDict(
            {"blocks": nn.ModuleList(Block(config, depth=i + 1) for i in range(config.depth)), "norm": nn.LayerNorm(dim)}
        )
        nn.init.kaiming_normal_(cast(Tensor, self.down_projection["proj"].weight), a=_INITIAL_SLOPE)
        nn.init.zeros_(cast(Tensor, self.down_projection["proj"].bias))

    def embed_patches(self, volume_B1XYZ: Tensor) -> Tensor:
        """Embed each patch alone: (B, x, y, z, D)."""
        return cast(Tensor, self.down_projection["proj"](volume_B1XYZ)).movedim(1, -1)

    def encode_patches(self, patches_BxyzD: Tensor) -> Tensor:
        """Compute the tokens (B, x, y, z, D) of embedded patches.

        A grid larger than the configured one is read window by window; where windows overlap, the last one's tokens stay.
        """
        grid = patches_BxyzD.shape[1:4]
        if grid == self._config.grid:
            return self._encode_window(patches_BxyzD)
        tokens_BxyzD = torch.empty_like(patches_BxyzD)
        for corner in product(*(_starts(count, window) for count, window in zip(grid, self._config.grid, strict=True))):
            window = (slice(None), *(slice(start, start + count) for start, count in zip(corner, self._config.grid, strict=True)))
            tokens_BxyzD[window] = self._encode_window(patches_BxyzD[window])
        return tokens_BxyzD

    def blocks(self) -> Iterator[nn.Module]:
        """Yield the blocks."""
        yield from cast(nn.ModuleList, self.eva["blocks"])

    def _encode_window(self, patches_BxyzD: Tensor) -> Tensor:
        tokens_BND = patches_BxyzD.flatten(1, 3)
        rotation = rotary_tables(self._config, device=tokens_BND.device)
        for block in self.blocks():
            tokens_BND = block(tokens_BND, rotation)
        return cast(Tensor, self.eva["norm"](tokens_BND)).view_as(patches_BxyzD)


def rotary_tables(config: ColipriConfig, *, device: torch.device) -> tuple[Tensor, Tensor]:
    """Compute sines and cosines (N, F / 2) of the angles of the pairs of channels: first axis, second axis, third axis."""
    bands = config.embed_dim // config.heads // 6
    frequencies = _BASE ** (-torch.arange(bands, device=device, dtype=torch.float32) / bands)
    places_N3 = torch.cartesian_prod(*(torch.arange(count, device=device, dtype=torch.float32) for count in config.grid))
    angles_NF = (places_N3[:, :, None] * frequencies).flatten(1)
    return angles_NF.sin(), angles_NF.cos()


class Block(nn.Module):
    """Add attention, then a gated MLP, each of the normed tokens and scaled channel by channel."""

    def __init__(self, config: ColipriConfig, *, depth: int) -> None:
        super().__init__()
        dim = config.embed_dim
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mlp = Attention(config), GatedMlp(config)
        self.gamma_1, self.gamma_2 = (nn.Parameter(torch.full((dim,), _GAMMA)) for _ in range(2))
        for linear in (module for module in self.modules() if isinstance(module, Linear)):
            nn.init.trunc_normal_(linear.weight, std=_INITIAL_STD)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
        for last in (self.attn.proj, self.mlp.fc2):
            last.weight.data.div_((2 * depth) ** 0.5)

    def forward(self, tokens_BND: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """Return the size of the tokens."""
        tokens_BND = torch.addcmul(tokens_BND, self.gamma_1, self.attn(self.norm1(tokens_BND), rotation).to(tokens_BND.dtype))
        return torch.addcmul(tokens_BND, self.gamma_2, self.mlp(self.norm2(tokens_BND)).to(tokens_BND.dtype))


class Attention(nn.Module):
    """Attend over all tokens, queries and keys rotated by their positions; the joined heads are normed before the last map."""

    def __init__(self, config: ColipriConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self._heads = config.heads
        self.q_proj, self.k_proj, self.v_proj = Linear(dim, dim), Linear(dim, dim, bias=False), Linear(dim, dim)
        self.norm, self.proj = nn.LayerNorm(dim), Linear(dim, dim)

    def forward(self, tokens_BND: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """Return the size of the tokens."""
        q_BHNF, k_BHNF, v_BHNF = (
            project(tokens_BND).unflatten(-1, (self._heads, -1)).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        out_BHNF = F.scaled_dot_product_attention(_rotate(q_BHNF, rotation), _rotate(k_BHNF, rotation), v_BHNF)
        return cast(Tensor, self.proj(self.norm(out_BHNF.transpose(1, 2).flatten(2).to(tokens_BND.dtype))))


class GatedMlp(nn.Module):
    """Map to a wider layer, gate it, norm it and map it back."""

    def __init__(self, config: ColipriConfig) -> None:
        super().__init__()
        dim, inner = config.embed_dim, config.mlp_dim
        self.fc1_g, self.fc1_x = Linear(dim, inner), Linear(dim, inner)
        self.norm, self.fc2 = nn.LayerNorm(inner), Linear(inner, dim)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """Return the size of the tokens."""
        gated_BNM = F.silu(self.fc1_g(tokens_BND)) * self.fc1_x(tokens_BND)
        return cast(Tensor, self.fc2(self.norm(gated_BNM.to(tokens_BND.dtype))))


def _rotate(heads_BHNF: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate neighbouring pairs of channels."""
    sin_NF, cos_NF = rotation
    first, second = heads_BHNF[..., 0::2], heads_BHNF[..., 1::2]
    rotated = torch.stack([first * cos_NF - second * sin_NF, second * cos_NF + first * sin_NF], dim=-1)
    return rotated.flatten(-2).to(heads_BHNF.dtype)


def _starts(count: int, window: int) -> list[int]:
    """List where windows begin along an axis: side by side, and a last one at the end."""
    return sorted({*range(0, count - window, window), count - window})

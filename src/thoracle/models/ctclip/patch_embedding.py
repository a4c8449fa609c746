"""Patches of a volume to tokens by way of smaller cells, seen through a radiologist's windows; for small models of coarse scans.

What is small in a patch would be lost in one linear map of it, and a LayerNorm of voxels takes density away. Here each cell is described
by its mean through each window and by its brightest and its darkest voxel; cells meet in their patch by mean and maximum, so that patches
of any size share weights. Nothing of this is published.

Shapes: B batch, T h w patches along slices and in plane, n cells along each axis of a patch, V voxels of a cell, W windows, C width of a
cell, S numbers that describe one, D width of a token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WindowedPatchEmbedding(nn.Module):
    """Embed a patch through its subpatches in HU windows; keys are its own. The volume gets no gradient: learning begins behind the
    windows.
    """

    def __init__(self, *, patch: tuple[int, int, int], cells: int, windows: Sequence[tuple[float, float]], dim_cell: int, dim: int) -> None:
        super().__init__()
        self._cells, self._windows = cells, windows
        self._size = tuple(size // cells for size in patch)
        self.hidden = nn.Linear(3 * len(windows), dim_cell)
        self.project = nn.Linear(2 * dim_cell, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, volume_BZHW: Tensor) -> Tensor:
        """Return (B, T, h, w, D)."""
        return self.embed(self.describe(volume_BZHW))

    def describe(self, volume_BZHW: Tensor) -> Tensor:
        """Describe the n^3 cells of each patch: (B, T, h, w, n^3, 3 W)."""
        # One after the other: a volume fits a CPU's cache, a batch does not, and takes seven times as long.
        return torch.stack([self._described(volume) for volume in volume_BZHW])

    def embed(self, described_BThwnS: Tensor) -> Tensor:
        """Embed described patches: (B, T, h, w, D)."""
        hidden_BThwnC = F.gelu(self.hidden(described_BThwnS))
        # The gradient of a sum is no array, that of a mean is one as large as all cells.
        met_BThwC = torch.cat([hidden_BThwnC.sum(dim=4) / hidden_BThwnC.shape[4], hidden_BThwnC.max(dim=4).values], dim=-1)
        return cast(Tensor, self.norm(self.project(met_BThwC)))

    def cell_grid(self, described_BThwnS: Tensor) -> Tensor:
        """Place the cells of all patches side by side: (B, T n, h n, w n, 3 W)."""
        n, (B, T, h, w, _, S) = self._cells, described_BThwnS.shape
        return described_BThwnS.view(B, T, h, w, n, n, n, S).permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(B, T * n, h * n, w * n, S)

    def embed_blocks(self, cells_BZYXS: Tensor) -> Tensor:
        """Embed each 2 x 2 x 2 cells of `cell_grid` as if they were a patch: (B, Z / 2, Y / 2, X / 2, D)."""
        B, Z, Y, X, S = cells_BZYXS.shape
        blocks = cells_BZYXS.view(B, Z // 2, 2, Y // 2, 2, X // 2, 2, S).permute(0, 1, 3, 5, 2, 4, 6, 7)
        return self.embed(blocks.flatten(4, 6))

    @torch.no_grad()
    def _described(self, volume_ZHW: Tensor) -> Tensor:
        """(T, h, w, n^3, 3 W), from -1 to 1 through each window: its mean, its brightest voxel, its darkest."""
        n, (z, y, x), (_, H, W) = self._cells, self._size, volume_ZHW.shape
        lows_W111, highs_W111 = volume_ZHW.new_tensor(self._windows).view(-1, 2, 1, 1, 1).unbind(dim=1)
        steps = []
        for slices in torch.split(volume_ZHW, n * z):  # few enough for all that is made of them to stay in cache
            clamped = torch.empty_like(slices)
            sums = [self._of_cells(torch.clamp(slices, low, high, out=clamped), torch.sum) for low, high in self._windows]
            # A window is monotone: the brightest voxel seen through it is the window of the brightest.
            extremes = [self._of_cells(slices, reduce).clamp(lows_W111, highs_W111) for reduce in (torch.amax, torch.amin)]
            cells_WcnYX = torch.stack([torch.stack(sums) / math.prod(self._size), *extremes], dim=1)
            seen_WcnYX = (cells_WcnYX - lows_W111[:, None]) * (2 / (highs_W111 - lows_W111))[:, None] - 1
            steps.append(seen_WcnYX.view(-1, n, H // (n * y), n, W // (n * x), n).permute(2, 4, 1, 3, 5, 0).flatten(2, 4))
        return torch.stack(steps)

    def _of_cells(self, volume_ZHW: Tensor, reduce: Callable[..., Tensor]) -> Tensor:
        """Reduce each cell, (T n, h n, w n): an axis at a time, for no voxel moves and only the last runs along what lies in a row."""
        z, y, x = self._size
        Z, H, W = volume_ZHW.shape
        slices = reduce(volume_ZHW.view(Z // z, z, H, W), 1)
        return reduce(reduce(slices.view(Z // z, H // y, y, W), 2).view(Z // z, H // y, W // x, x), 3)


class GridPool(nn.Module):
    """Pool tokens to one vector that knows places: a few channels of every token, and the mean and maximum of all channels."""

    def __init__(self, dim: int, *, channels: int) -> None:
        super().__init__()
        self.narrow = nn.Linear(dim, channels)

    def forward(self, tokens_BTHWD: Tensor, mean_BHWD: Tensor) -> Tensor:
        """Return (B, T h w channels + 2 D); `mean_BHWD` is that along slices."""
        tokens_BND = tokens_BTHWD.flatten(1, 3)
        return torch.cat([self.narrow(tokens_BND).flatten(1), mean_BHWD.mean(dim=(1, 2)), tokens_BND.amax(dim=1)], dim=-1)


class SliceAttentionPool(nn.Module):
    """Average slices with weights learned from tokens, at each place in plane and for each group of channels.

    It begins as the mean that it takes the place of: a model that was trained with that one answers as before.
    """

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.weigh = nn.Linear(dim, heads, bias=False)
        nn.init.zeros_(self.weigh.weight)

    def forward(self, tokens_BTHWD: Tensor) -> Tensor:
        """Return (B, h, w, D)."""
        weights_BTHWG = self.weigh(tokens_BTHWD).softmax(dim=1)
        groups_BTHWGC = tokens_BTHWD.view(*weights_BTHWG.shape, -1)
        return cast(Tensor, (weights_BTHWG[..., None] * groups_BTHWGC).sum(dim=1).flatten(-2))

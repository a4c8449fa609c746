"""Weigh what speaks for a finding at each place of the chest's frame, by a regression at that place.

Shapes: B scans, F = (z, x, y) places of the frame, N = z x y of them, (T, h, w) cells of a grid over the input, D numbers of a cell,
P principal components of these, K findings.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thoracle.models.regions.config import ReaderConfig
from thoracle.models.regions.frame import FrameResampling, Grid


class PlaceEvidence(nn.Module):
    """Measure evidence by a linear discriminant at each place, which `thoracle train regions` fits; nothing here has a gradient.

    A map is evidence above 0 and its mean, times the root of how much a finding moves the place.

    Attributes:
        config: of the grid and its frame.
        centre_D, basis_DP: principal components of a cell's numbers.
        mean_NP: of the components at each place.
        weights_KNP: of what deviates from the mean.
        prior_KN: by how much a finding moves a place, beyond chance; smoothed.
    """

    centre_D: Tensor
    basis_DP: Tensor
    mean_NP: Tensor
    weights_KNP: Tensor
    prior_KN: Tensor

    def __init__(self, config: ReaderConfig, *, findings: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("centre_D", torch.zeros(config.dim))
        self.register_buffer("basis_DP", torch.zeros(config.dim, config.components))
        self.register_buffer("mean_NP", torch.zeros(config.places, config.components))
        self.register_buffer("weights_KNP", torch.zeros(findings, config.places, config.components))
        self.register_buffer("prior_KN", torch.zeros(findings, config.places))

    def reduce(self, cells_BTHWD: Tensor) -> Tensor:
        """Project cells to their components (B, T, h, w, P)."""
        return (cells_BTHWD.float() - self.centre_D) @ self.basis_DP

    def forward(self, places_BNP: Tensor) -> Tensor:
        """Map the places of the frame: (B, K, N)."""
        evidence_BKN = torch.einsum("bnp,knp->bkn", places_BNP - self.mean_NP, self.weights_KNP)
        positive_BKN = smooth(evidence_BKN, self.config.frame, sigma=self.config.sigma).clamp(min=0)
        return (positive_BKN + positive_BKN.mean(dim=-1, keepdim=True)) * self.prior_KN.sqrt()

    def map_cells(self, cells_BTHWP: Tensor, resampling: FrameResampling) -> Tensor:
        """Map the cells of a grid over the input: (B, K, T, h, w), 0 outside the frame.

        Discriminants are interpolated to the cells, which stay as they are; a map of places would have been interpolated twice.
        """
        offsets_KN1 = (self.weights_KNP * self.mean_NP).sum(dim=-1, keepdim=True)
        fields_KNQ = torch.cat([self.weights_KNP, offsets_KN1, self.prior_KN[..., None]], dim=-1)
        fields_FR = fields_KNQ.transpose(0, 1).reshape(*self.config.frame, -1)
        fields_BTHWR = resampling.to_grid(fields_FR.expand(len(cells_BTHWP), *fields_FR.shape))
        fields_BTHWKQ = fields_BTHWR.view(*fields_BTHWR.shape[:-1], len(fields_KNQ), -1)
        weights_BTHWKP, offset_BTHWK, prior_BTHWK = fields_BTHWKQ[..., :-2], fields_BTHWKQ[..., -2], fields_BTHWKQ[..., -1]
        evidence_BTHWK = (weights_BTHWKP @ cells_BTHWP[..., None])[..., 0] - offset_BTHWK
        _, *grid, _ = evidence_BTHWK.shape
        evidence_BKC, prior_BKC = (values.movedim(-1, 1).flatten(2) for values in (evidence_BTHWK, prior_BTHWK))
        within_BC = resampling.covered().flatten(1)
        positive_BKC = smooth(evidence_BKC, (grid[0], grid[1], grid[2]), sigma=self.config.sigma).clamp(min=0) * within_BC[:, None]
        mean_BK1 = (positive_BKC.sum(dim=-1) / within_BC.sum(dim=-1, keepdim=True).clamp(min=1))[..., None]
        return ((positive_BKC + mean_BK1) * prior_BKC.sqrt()).view(*positive_BKC.shape[:2], *grid)


def smooth(values: Tensor, frame: Grid, *, sigma: float) -> Tensor:
    """Smooth (…, N) over the frame by a Gaussian of `sigma` places; at its rim by what of it lies within."""
    (_, x, y), (z_by_z, x_by_x, y_by_y) = frame, (_gaussian(size, sigma, like=values) for size in frame)
    along_y = values.reshape(-1, y) @ y_by_y.T
    along_x = x_by_x @ along_y.view(-1, x, y)
    return (z_by_z @ along_x.view(-1, len(z_by_z), x * y)).view(values.shape)


def _gaussian(size: int, sigma: float, *, like: Tensor) -> Tensor:
    at = torch.arange(size, device=like.device, dtype=like.dtype)
    weights = torch.exp(-((at[:, None] - at) ** 2) / (2 * sigma**2))
    return weights / weights.sum(dim=1, keepdim=True)

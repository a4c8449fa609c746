"""Weigh what speaks for a finding at each place of the chest's frame, by a regression at that place; and what is learned beside it.

Shapes: B scans, F = (z, x, y) places of the frame, N = z x y of them, D numbers of a cell, P principal components of these, K findings.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thoracle.models.regions.config import ReaderConfig
from thoracle.models.regions.frame import Grid

_GROUPS = 8  # of the convolution
_RARE_LOGIT = -3.0  # that the network begins with: few places of few scans have a finding


class PlaceEvidence(nn.Module):
    """Measure evidence by a linear discriminant at each place, which `thoracle train regions` fits; nothing here has a gradient.

    Attributes:
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
        self._frame, self._sigma = config.frame, config.sigma
        self.register_buffer("centre_D", torch.zeros(config.dim))
        self.register_buffer("basis_DP", torch.zeros(config.dim, config.components))
        self.register_buffer("mean_NP", torch.zeros(config.places, config.components))
        self.register_buffer("weights_KNP", torch.zeros(findings, config.places, config.components))
        self.register_buffer("prior_KN", torch.zeros(findings, config.places))

    def reduce(self, cells_BTHWD: Tensor) -> Tensor:
        """Project cells to their components (B, T, h, w, P)."""
        return (cells_BTHWD.float() - self.centre_D) @ self.basis_DP

    def forward(self, places_BNP: Tensor) -> Tensor:
        """Map evidence and where it is usual: (e+ + mean e+) sqrt(prior), (B, K, N)."""
        evidence_BKN = torch.einsum("bnp,knp->bkn", places_BNP - self.mean_NP, self.weights_KNP)
        positive_BKN = smooth(evidence_BKN, self._frame, sigma=self._sigma).clamp(min=0)
        return (positive_BKN + positive_BKN.mean(dim=-1, keepdim=True)) * self.prior_KN.sqrt()


class PlaceNetwork(nn.Module):
    """Learn from maps of `PlaceEvidence` where a finding is, with what lies around each place: a convolution that is added to the place's
    own numbers, a gain and a bias by place, and a perceptron.
    """

    def __init__(self, config: ReaderConfig, *, findings: int) -> None:
        super().__init__()
        self._frame, hidden = config.frame, config.hidden
        self.project = nn.Linear(2 * config.components, hidden)
        self.around = nn.Conv3d(hidden, hidden, 3, padding=1, groups=_GROUPS)
        self.gain_CF = nn.Parameter(torch.ones(hidden, *self._frame))
        self.bias_CF = nn.Parameter(torch.zeros(hidden, *self._frame))
        self.hidden = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, findings)
        nn.init.constant_(self.out.bias, _RARE_LOGIT)

    def forward(self, places_BNP: Tensor, mean_NP: Tensor) -> Tensor:
        """Compute logits (B, K, N)."""
        placed_BNC = self.project(torch.cat([places_BNP - mean_NP, places_BNP], dim=-1))
        placed_BCF = placed_BNC.transpose(1, 2).reshape(len(placed_BNC), -1, *self._frame)
        hidden_BNC = F.gelu((placed_BCF + self.around(placed_BCF)) * self.gain_CF + self.bias_CF).flatten(2).transpose(1, 2)
        return cast(Tensor, self.out(F.gelu(self.hidden(hidden_BNC)))).transpose(1, 2)


class RegionReader(nn.Module):
    """Hold both stages on one grid."""

    def __init__(self, config: ReaderConfig, *, findings: int) -> None:
        super().__init__()
        self.evidence = PlaceEvidence(config, findings=findings)
        self.network = PlaceNetwork(config, findings=findings)

    def logits(self, places_BNP: Tensor) -> Tensor:
        """Compute the second stage's logits (B, K, N)."""
        return cast(Tensor, self.network(places_BNP, self.evidence.mean_NP))

    def maps(self, places_BNP: Tensor) -> Tensor:
        """Multiply the maps of both stages: (B, K, N)."""
        return cast(Tensor, self.evidence(places_BNP)) * self.logits(places_BNP).sigmoid()


def smooth(values_BKN: Tensor, frame: Grid, *, sigma: float) -> Tensor:
    """Smooth over the frame by a Gaussian of `sigma` places; at its rim by what of it lies within."""
    values_BKZXY = values_BKN.reshape(*values_BKN.shape[:-1], *frame)
    for axis, size in enumerate(frame, start=values_BKN.dim() - 1):
        at = torch.arange(size, device=values_BKN.device)
        weights = torch.exp(-((at[:, None] - at).to(values_BKN.dtype) ** 2) / (2 * sigma**2))
        weights = weights / weights.sum(dim=1, keepdim=True)
        values_BKZXY = (values_BKZXY.movedim(axis, -1) @ weights.T).movedim(-1, axis)
    return values_BKZXY.reshape(values_BKN.shape)

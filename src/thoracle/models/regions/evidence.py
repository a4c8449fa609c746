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
        return self._map(torch.einsum("bnp,knp->bkn", places_BNP - self.mean_NP, self.weights_KNP), self.prior_KN)

    def map_present(self, places_BNP: Tensor, labels_BK: Tensor) -> Tensor:
        """Map as `forward` where a label is not 0, and 0 elsewhere: most findings are absent, and smoothing takes longest."""
        deviations_BNP, maps_BKN = places_BNP - self.mean_NP, places_BNP.new_zeros(*labels_BK.shape, places_BNP.shape[1])
        scans, findings = labels_BK.nonzero(as_tuple=True)
        if len(scans):
            pairs = zip(scans.tolist(), findings.tolist(), strict=True)
            evidence_MN = torch.stack([(deviations_BNP[b] * self.weights_KNP[k]).sum(dim=-1) for b, k in pairs])
            maps_BKN[scans, findings] = self._map(evidence_MN, self.prior_KN[findings])
        return maps_BKN

    def _map(self, evidence: Tensor, prior: Tensor) -> Tensor:
        positive = smooth(evidence, self._frame, sigma=self._sigma).clamp(min=0)
        return (positive + positive.mean(dim=-1, keepdim=True)) * prior.sqrt()


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
        deviation_CP, value_CP = self.project.weight.chunk(2, dim=1)  # of [places - mean, places], which is never put together
        placed_BNC = F.linear(places_BNP, deviation_CP + value_CP) + (self.project.bias - mean_NP @ deviation_CP.T)
        placed_BFC = placed_BNC.view(len(placed_BNC), *self._frame, -1)
        # Channels stay last: a convolution is then more than twice as fast on a CPU, and nothing is transposed.
        around_BFC = self.around(placed_BFC.movedim(-1, 1)).movedim(1, -1)
        hidden_BFC = F.gelu((placed_BFC + around_BFC) * self.gain_CF.movedim(0, -1) + self.bias_CF.movedim(0, -1))
        return cast(Tensor, self.out(F.gelu(self.hidden(hidden_BFC)))).flatten(1, 3).transpose(1, 2)


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

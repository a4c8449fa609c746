"""Sum what a regression at each place needs, in one pass over scans, and solve it.

Shapes: B scans of S, N places, P numbers of a place, D numbers of a cell, K findings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from thoracle.training.engine.distributed import World

#: Of the ridge, on centred labels.
RIDGE = 1.0
#: Of the identity in a place's covariance, relative to its mean variance.
_IDENTITY = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class Discriminant:
    """Hold a linear discriminant at each place: mean (N, P), weights (K, N, P), and the prior (K, N) before it is smoothed."""

    mean_NP: Tensor
    weights_KNP: Tensor
    prior_KN: Tensor


class PlaceMoments:
    """Sum values at each place in float64; as large as N covariances of P numbers, however many scans there are."""

    def __init__(self, labels_SK: Tensor, *, places: int, numbers: int) -> None:
        """Take the labels of all scans that will be added, 0 or 1."""
        self._centred_SK = labels_SK.double() - labels_SK.double().mean(dim=0)
        self._sum_NP = torch.zeros(places, numbers, dtype=torch.float64)
        self._squares_NPP = torch.zeros(places, numbers, numbers, dtype=torch.float64)
        self._labelled_KNP = torch.zeros(labels_SK.shape[1], places, numbers, dtype=torch.float64)

    def add(self, rows: slice, places_BNP: Tensor) -> None:
        """Add scans, whose labels are `rows` of all."""
        values_NBP = places_BNP.transpose(0, 1).to("cpu", torch.float64)
        self._sum_NP += values_NBP.sum(dim=1)
        torch.baddbmm(self._squares_NPP, values_NBP.transpose(1, 2), values_NBP, out=self._squares_NPP)
        self._labelled_KNP += torch.einsum("bk,nbp->knp", self._centred_SK[rows], values_NBP)

    def reduce(self, world: World) -> None:
        """Sum over ranks."""
        for sums in (self._sum_NP, self._squares_NPP, self._labelled_KNP):
            world.all_reduce_sum(sums)

    def solve(self, *, local_weight: float) -> Discriminant:
        """Solve by ridge regression on all findings at once; residual covariances are shrunk to their mean over places.

        Args:
            local_weight: of a place's own covariance against the mean over places.
        """
        scans = len(self._centred_SK)
        gram_KK = self._centred_SK.T @ self._centred_SK
        inverse_KK = torch.linalg.inv(gram_KK + RIDGE * torch.eye(len(gram_KK), dtype=torch.float64))
        mean_NP = self._sum_NP / scans
        effects_KNP = torch.einsum("kl,lnp->knp", inverse_KK, self._labelled_KNP)
        covariance_NPP = self._squares_NPP - scans * mean_NP[:, :, None] * mean_NP[:, None, :]
        explained_NPP = torch.einsum("knp,knq->npq", effects_KNP, self._labelled_KNP)
        curved_KNP = torch.einsum("kl,lnp->knp", gram_KK, effects_KNP)
        covariance_NPP += torch.einsum("knp,knq->npq", effects_KNP, curved_KNP) - explained_NPP - explained_NPP.transpose(1, 2)
        covariance_NPP /= scans
        covariance_NPP = local_weight * covariance_NPP + (1 - local_weight) * covariance_NPP.mean(dim=0)
        numbers = covariance_NPP.shape[-1]
        variance_N = covariance_NPP.diagonal(dim1=1, dim2=2).mean(dim=-1)
        covariance_NPP += (_IDENTITY * variance_N)[:, None, None] * torch.eye(numbers, dtype=torch.float64)
        weights_KNP = torch.linalg.solve(covariance_NPP, effects_KNP.permute(1, 2, 0)).permute(2, 0, 1)
        distance_KN = (effects_KNP * weights_KNP).sum(dim=-1)
        by_chance_K = numbers * inverse_KK.diagonal()
        prior_KN = (distance_KN - by_chance_K[:, None]).clamp(min=0)
        return Discriminant(mean_NP=mean_NP.float(), weights_KNP=weights_KNP.float(), prior_KN=prior_KN.float())


def score_logits(scores_SK: Tensor, labels_SK: Tensor) -> tuple[Tensor, Tensor]:
    """Fit the scale and the shift (K) that make a logit of a score: a discriminant of scans with a finding and without, of one variance."""
    scores, present = scores_SK.double(), labels_SK.double()
    counts = present.sum(dim=0), (1 - present).sum(dim=0)
    means = (scores * present).sum(dim=0) / counts[0], (scores * (1 - present)).sum(dim=0) / counts[1]
    deviations = torch.where(labels_SK > 0, scores - means[0], scores - means[1])
    scale = (means[0] - means[1]) / deviations.square().mean(dim=0).clamp(min=1e-12)
    return scale.float(), (torch.log(counts[0] / counts[1]) - scale * (means[0] + means[1]) / 2).float()


class CellMoments:
    """Sum what principal components of a cell's numbers need: their covariance within places, from some scans."""

    def __init__(self, *, cells: int, numbers: int) -> None:
        self._scans = 0
        self._sum_ND = torch.zeros(cells, numbers, dtype=torch.float64)
        self._squares_DD = torch.zeros(numbers, numbers, dtype=torch.float64)

    def add(self, cells_BTHWD: Tensor) -> None:
        """Add scans."""
        values_BND = cells_BTHWD.flatten(1, 3).to("cpu", torch.float64)
        self._scans += len(values_BND)
        self._sum_ND += values_BND.sum(dim=0)
        flat = values_BND.flatten(0, 1)
        self._squares_DD += flat.T @ flat

    def reduce(self, world: World) -> None:
        """Sum over ranks."""
        scans = world.all_reduce_sum(torch.tensor(self._scans))
        self._scans = int(scans)
        for sums in (self._sum_ND, self._squares_DD):
            world.all_reduce_sum(sums)

    def components(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the mean (D) and the basis (D, count), the component of most variance first; all of D as they are where count is D."""
        mean_ND, numbers = self._sum_ND / self._scans, len(self._squares_DD)
        if count == numbers:
            return torch.zeros(numbers), torch.eye(numbers)
        within_DD = self._squares_DD - self._scans * mean_ND.T @ mean_ND
        basis_DD = torch.linalg.eigh(within_DD).eigenvectors
        return mean_ND.mean(dim=0).float(), basis_DD.flip(1)[:, :count].float()

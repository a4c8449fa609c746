"""Initialize finding tokens by closed-form ridge regression from scan tokens to labels.

How strong the ridge is, and where yes begins, is told by the errors of each scan when it is left out, so that no scan is set aside.

Shapes: S scans, T h w tokens of a scan, C their width, K labels, N = T h w.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

#: Of the mean eigenvalue of the scans' products.
_STRENGTHS: Final = (0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.5, 5.0)
#: Rows are read as words, which are said or not said: what is likely is nearly said.
_SHARP: Final = 4.0
_FEWEST: Final = 2


def fit_ridge_probe(kept_S: Tensor, read: Callable[[Tensor], Tensor], labels_SK: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (K, N C) and bias (K,) of a linear map from tokens to how sure it is that a label is 1; 0 where yes is as likely as no.

    Likely as of cases in equal numbers, however rare the label is.

    Args:
        kept_S: scans as `ScanTokens` keeps them; all tokens of one slice of them are in memory together.
        read: gives their tokens.
        labels_SK: 0 and 1, or NaN where nobody says, which counts as the label's mean. Of a label that is hardly ever 0, or 1, nothing is
            said: it is as likely as not.
    """
    labels = labels_SK.double()
    mean = labels.nanmean(dim=0)
    fitted = torch.minimum((labels == 1).sum(dim=0), (labels == 0).sum(dim=0)) >= _FEWEST
    labels = torch.where(fitted, labels, torch.nan)
    targets = (labels - mean).nan_to_num()
    slices, centre = range(kept_S.shape[1]), []
    product = torch.zeros(len(kept_S), len(kept_S), dtype=torch.float64)
    for t in slices:
        x = read(kept_S[:, t]).flatten(1)
        centre.append(x.mean(dim=0))
        x -= centre[-1]
        product += (x @ x.T).double()
    solved_SK, left_out_SK = _ridge(product, targets)
    scale, shift = (torch.where(fitted, bound, 0.0) for bound in _balanced(left_out_SK, labels, mean))
    weight = torch.cat([(read(kept_S[:, t]).flatten(1) - centre[t]).T @ solved_SK.float() for t in slices]).T * scale[:, None]
    return weight, shift - weight @ torch.cat(centre)


def _ridge(product_SS: Tensor, wanted_SK: Tensor) -> tuple[Tensor, Tensor]:
    """What each scan counts (S, K), and what is said of each scan by the others (S, K), at the strength at which that is best."""
    values, vectors = torch.linalg.eigh(product_SS)
    projections = vectors.T @ wanted_SK
    best: tuple[float, Tensor, Tensor] | None = None
    for strength in _STRENGTHS:
        damped = values.clamp(min=0) + strength * values.mean()
        shrunk = values.clamp(min=0) / damped
        leverage = (vectors.square() * shrunk).sum(dim=1, keepdim=True) + 1 / len(wanted_SK)  # the last is the mean's
        left_out = wanted_SK - (wanted_SK - vectors @ (shrunk[:, None] * projections)) / (1 - leverage)
        error = float((left_out - wanted_SK).square().mean())
        if best is None or error < best[0]:
            best = error, vectors @ (projections / damped[:, None]), left_out
    assert best is not None, "there are strengths"
    return best[1], best[2]


def _balanced(scores_SK: Tensor, labels_SK: Tensor, mean_K: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift (K,) that turn scores into logits (Platt), as if 0 and 1 were equally many, sharpened."""
    spread = scores_SK.std(dim=0).clamp(min=1e-12)  # of what nobody tells it is 0
    parameters = torch.zeros(2, len(mean_K), dtype=torch.float64, requires_grad=True)
    weights = torch.where(labels_SK == 1, 0.5 / mean_K, torch.where(labels_SK == 0, 0.5 / (1 - mean_K), 0.0)).nan_to_num(posinf=0.0)
    search = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        logits = parameters[0] * scores_SK / spread + parameters[1]
        value = (F.binary_cross_entropy_with_logits(logits, labels_SK.nan_to_num(), reduction="none") * weights).sum(dim=0).mean()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        search.step(loss)  # type: ignore[no-untyped-call]
    fitted_parameters = parameters.detach() * _SHARP
    return (fitted_parameters[0] / spread).float(), fitted_parameters[1].float()

"""Labels fitted to tokens: errors of scans that are left out are those of fits without them, and what is fitted is seen in new scans."""

from __future__ import annotations

import torch
from torch import Tensor

from thoracle.training.chat.ridge_probe import _ridge, fit_ridge_probe


def scans(count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Tokens (S, 2, 2, 2, 3), of which the second label, a rare one, is where the last place is bright."""
    torch.manual_seed(seed)
    tokens = torch.randn(count, 2, 2, 2, 3)
    labels = torch.stack([tokens[:, 0, 0, 0, 0] > 0, tokens[:, 1, 1, 1, 2] > 1], dim=1).float()
    return tokens + 5, labels


def test_a_scan_that_is_left_out_is_said_what_a_fit_without_it_says() -> None:
    tokens, labels = scans(12, seed=0)
    x = tokens.flatten(1).double()
    centred = x - x.mean(dim=0)
    solved, left_out = _ridge(centred @ centred.T, labels.double() - labels.double().mean(dim=0))
    weight = centred.T @ solved
    # The strength that was chosen, told by what was solved.
    whole = centred @ centred.T
    strength = torch.linalg.lstsq(
        solved.flatten()[:, None], (labels.double() - labels.double().mean(0) - whole @ solved).flatten()[:, None]
    )
    for k in range(len(x)):
        others = torch.arange(len(x)) != k
        mean, centre = labels[others].double().mean(dim=0), x[others].mean(dim=0)
        apart = x[others] - centre
        without = apart.T @ torch.linalg.solve(
            apart @ apart.T + strength.solution.item() * torch.eye(len(apart)), labels[others].double() - mean
        )
        expected = (x[k] - centre) @ without + mean - labels.double().mean(dim=0)
        torch.testing.assert_close(left_out[k], expected)
    assert weight.shape == (24, 2)


def test_what_is_fitted_is_seen_in_new_scans_however_rare_and_where_nobody_says() -> None:
    tokens, labels = scans(300, seed=1)
    labels[:20, 0] = float("nan")
    weight, bias = fit_ridge_probe(tokens, lambda kept: kept, labels)
    new, wanted = scans(400, seed=2)
    said = new.flatten(1) @ weight.T + bias > 0
    for k in range(2):
        yes, no = said[wanted[:, k] == 1, k].float().mean(), said[wanted[:, k] == 0, k].float().mean()
        assert yes > 0.85
        assert no < 0.2


def test_of_a_finding_that_all_scans_have_nothing_is_said() -> None:
    tokens, labels = scans(40, seed=3)
    alone, _ = fit_ridge_probe(tokens, lambda kept: kept, labels[:, :1])
    labels[:, 1] = 1
    weight, bias = fit_ridge_probe(tokens, lambda kept: kept, labels)
    assert not weight[1].any()
    assert bias[1] == 0
    torch.testing.assert_close(weight[:1], alone, rtol=0.05, atol=0.01)

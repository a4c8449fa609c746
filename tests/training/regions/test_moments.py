"""Sums in one pass, solved: against a regression at each place in plain numpy, by normal equations of the scans themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thoracle.training.regions.moments import CellMoments, PlaceMoments, score_logits

SCANS, PLACES, NUMBERS, FINDINGS = 40, 5, 4, 3


def cases() -> tuple[np.ndarray, np.ndarray]:
    """Labels and places; finding 0 moves place 1, finding 2 moves place 3."""
    rng = np.random.default_rng(0)
    labels = (rng.random((SCANS, FINDINGS)) < 0.4).astype(np.float64)
    x = rng.normal(size=(SCANS, PLACES, NUMBERS)) @ rng.normal(size=(NUMBERS, NUMBERS)) + 7
    x[:, 1] += labels[:, [0]] * 3
    x[:, 3] -= labels[:, [2]] * 2
    return labels, x


def by_hand(labels: np.ndarray, x: np.ndarray, own: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    z = labels - labels.mean(0)
    inverse = np.linalg.inv(z.T @ z + np.eye(FINDINGS))
    means = [x[:, n].mean(0) for n in range(PLACES)]
    betas = [inverse @ z.T @ (x[:, n] - means[n]) for n in range(PLACES)]
    residuals = [x[:, n] - means[n] - z @ betas[n] for n in range(PLACES)]
    sigmas = [r.T @ r / SCANS for r in residuals]
    common = sum(sigmas) / PLACES
    weights, priors = [], []
    for beta, sigma in zip(betas, sigmas, strict=True):
        mixed = own * sigma + (1 - own) * common
        mixed = mixed + 1e-4 * np.trace(mixed) / NUMBERS * np.eye(NUMBERS)
        w = np.linalg.inv(mixed) @ beta.T
        weights.append(w.T)
        priors.append([max(0.0, beta[k] @ w[:, k] - NUMBERS * inverse[k, k]) for k in range(FINDINGS)])
    return np.array(means), np.array(weights).transpose(1, 0, 2), np.array(priors).T


def test_a_discriminant_is_that_of_a_regression_at_each_place() -> None:
    labels, x = cases()
    moments = PlaceMoments(torch.from_numpy(labels), places=PLACES, numbers=NUMBERS)
    for rows in (slice(0, 7), slice(7, 32), slice(32, SCANS)):
        moments.add(rows, torch.from_numpy(x[rows]).float())
    solved = moments.solve(local_weight=0.9)
    means, weights, priors = by_hand(labels, x.astype(np.float32).astype(np.float64), 0.9)
    np.testing.assert_allclose(solved.mean_NP.numpy(), means, rtol=1e-5)
    np.testing.assert_allclose(solved.weights_KNP.numpy(), weights, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(solved.prior_KN.numpy(), priors, rtol=1e-4, atol=1e-5)
    assert priors[0].argmax() == 1
    assert priors[2].argmax() == 3


def test_the_order_and_size_of_what_is_added_changes_nothing() -> None:
    labels, x = cases()
    whole, parts = (PlaceMoments(torch.from_numpy(labels), places=PLACES, numbers=NUMBERS) for _ in range(2))
    whole.add(slice(0, SCANS), torch.from_numpy(x).float())
    for row in reversed(range(SCANS)):
        parts.add(slice(row, row + 1), torch.from_numpy(x[row : row + 1]).float())
    torch.testing.assert_close(parts.solve(local_weight=0.95).weights_KNP, whole.solve(local_weight=0.95).weights_KNP)


def test_logits_of_scores_by_hand() -> None:
    """Scores 3, 5 with the finding and 0, 2, 1 without: means 4 and 1, mean square deviation (1 + 1 + 1 + 1 + 0) / 5, odds 2 to 3."""
    scores, labels = torch.tensor([[3.0], [5.0], [0.0], [2.0], [1.0]]), torch.tensor([[1.0], [1.0], [0.0], [0.0], [0.0]])
    scale, shift = score_logits(scores, labels)
    assert scale.tolist() == pytest.approx([3 / 0.8])
    assert shift.tolist() == pytest.approx([np.log(2 / 3) - 3 / 0.8 * 2.5])
    scale, shift = score_logits(torch.zeros(5, 1), labels)  # no place is moved
    assert (scale.tolist(), shift.tolist()) == ([0.0], pytest.approx([np.log(2 / 3)]))


def test_components_are_those_of_what_varies_within_places() -> None:
    """Places that differ from each other by far are no variance; along one direction scans differ by 5, along another by 1."""
    rng = np.random.default_rng(1)
    first, second = np.array([0.6, 0.8, 0.0, 0.0]), np.array([0.0, 0.0, 1.0, 0.0])
    offsets = np.array([0, 0, 0, 100.0]) * np.arange(6)[:, None]
    cells = offsets + rng.normal(0, 5, (30, 6, 1)) * first + rng.normal(0, 1, (30, 6, 1)) * second
    moments = CellMoments(cells=6, numbers=4)
    for part in np.split(cells, 3):
        moments.add(torch.from_numpy(part.reshape(10, 1, 2, 3, 4)).float())
    centre, basis = moments.components(2)
    np.testing.assert_allclose(centre.numpy(), cells.mean((0, 1)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.abs(basis.numpy().T @ np.stack([first, second], 1)), np.eye(2), atol=0.05)


def test_all_numbers_are_taken_as_they_are() -> None:
    moments = CellMoments(cells=1, numbers=3)
    moments.add(torch.ones(2, 1, 1, 1, 3))
    centre, basis = moments.components(3)
    assert torch.equal(centre, torch.zeros(3))
    assert torch.equal(basis, torch.eye(3))

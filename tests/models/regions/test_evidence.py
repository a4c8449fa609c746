"""Maps of places and of cells by hand, in numpy, on a few places."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from thoracle.ct.chest.input_box import InputBox
from thoracle.models.regions.config import ReaderConfig
from thoracle.models.regions.evidence import PlaceEvidence, smooth
from thoracle.models.regions.frame import frame_resampling

FRAME = (2, 3, 2)
CONFIG = ReaderConfig(grid=FRAME, dim=5, components=3, frame=FRAME, sigma=0.4)


def fitted(findings: int = 2) -> PlaceEvidence:
    """Evidence whose numbers are drawn."""
    evidence, generator = PlaceEvidence(CONFIG, findings=findings), torch.Generator().manual_seed(0)
    for buffer in evidence.buffers():
        buffer.copy_(torch.randn(buffer.shape, generator=generator))
    evidence.prior_KN.abs_()
    return evidence


def test_a_map_is_evidence_above_zero_with_its_mean_times_the_root_of_the_prior() -> None:
    evidence, places = fitted(), torch.randn(3, 12, 3, generator=torch.Generator().manual_seed(1))
    maps = evidence(places).numpy()
    mean, weights, prior = (buffer.numpy() for buffer in (evidence.mean_NP, evidence.weights_KNP, evidence.prior_KN))
    for b in range(3):
        for k in range(2):
            raw = np.array([weights[k, n] @ (places[b, n].numpy() - mean[n]) for n in range(12)])
            # Of a Gaussian of 0.4 places, whose weights beyond the rim go to what is within: exp(-1 / 0.32) of the next, exp(-4 / 0.32).
            for axis, count in enumerate(FRAME):
                near = np.exp(-((np.arange(count)[:, None] - np.arange(count)) ** 2) / 0.32)
                raw = np.moveaxis(np.tensordot(near / near.sum(1, keepdims=True), raw.reshape(FRAME), (1, axis)), 0, axis).ravel()
            positive = np.maximum(raw, 0)
            np.testing.assert_allclose(maps[b, k], (positive + positive.mean()) * np.sqrt(prior[k]), rtol=1e-4, atol=1e-5)


def test_a_map_of_cells_has_discriminants_that_are_interpolated_to_them() -> None:
    """Each of 4 x 5 x 3 cells by the weights of its axes' matrices, which are tested by themselves; what lies outside the box is 0."""
    evidence, grid = fitted(), (4, 5, 3)
    box = InputBox(low=(0.3, 0.0, 0.1), high=(1.0, 0.7, 0.9), encloses="lungs")
    resampling = frame_resampling([box], grid=grid, frame=FRAME, margin=0.0, device=torch.device("cpu"))
    cells = torch.randn(1, *grid, 3, generator=torch.Generator().manual_seed(1))
    maps = evidence.map_cells(cells, resampling)[0].numpy()
    z, x, y = (matrix[0].numpy() for matrix in resampling.outward)
    at_cells = np.einsum("ai,bj,ck->abcijk", z, x, y).reshape(60, 12)
    within = at_cells.sum(axis=1) > 0.5
    assert 0 < within.sum() < 60
    mean, weights, prior = (buffer.numpy() for buffer in (evidence.mean_NP, evidence.weights_KNP, evidence.prior_KN))
    for k in range(2):
        raw = (at_cells @ weights[k] * cells.numpy().reshape(60, 3)).sum(axis=1) - at_cells @ (weights[k] * mean).sum(axis=1)
        positive = np.maximum(smooth(torch.from_numpy(raw), grid, sigma=0.4).numpy(), 0) * within
        expected = (positive + positive.sum() / within.sum()) * np.sqrt(at_cells @ prior[k])
        np.testing.assert_allclose(maps[k].ravel(), expected, rtol=1e-4, atol=1e-5)
        assert not maps[k].ravel()[~within].any()


def test_smoothing_is_scipys_away_from_the_rim() -> None:
    values = np.zeros((9, 9, 9))
    values[3:6, 3:6, 3:6] = np.random.default_rng(0).normal(size=(3, 3, 3))
    smoothed = smooth(torch.from_numpy(values.reshape(1, 1, -1)), (9, 9, 9), sigma=0.5).numpy().reshape(9, 9, 9)
    np.testing.assert_allclose(smoothed, gaussian_filter(values, 0.5, truncate=6, mode="constant"), atol=1e-6)
    ones = smooth(torch.ones(1, 1, 12, dtype=torch.float64), FRAME, sigma=0.7)
    torch.testing.assert_close(ones, torch.ones_like(ones))  # nothing is lost at the rim


def test_components_are_of_what_deviates_from_the_centre() -> None:
    evidence, cells = fitted(), torch.randn(1, 2, 3, 2, 5)
    expected = (cells.numpy() - evidence.centre_D.numpy()) @ evidence.basis_DP.numpy()
    np.testing.assert_allclose(evidence.reduce(cells).numpy(), expected, rtol=1e-5, atol=1e-5)

"""Maps of both stages by hand, in numpy, on a few places."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from thoracle.models.regions.config import ReaderConfig
from thoracle.models.regions.evidence import PlaceEvidence, RegionReader, smooth

FRAME = (2, 3, 2)
CONFIG = ReaderConfig(grid=FRAME, dim=5, components=3, frame=FRAME, sigma=0.4, hidden=16)


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


def test_maps_of_what_is_present_are_those_of_all_and_zero_elsewhere() -> None:
    evidence, places = fitted(), torch.randn(3, 12, 3, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    torch.testing.assert_close(evidence.map_present(places, labels), evidence(places) * labels[:, :, None])
    assert not evidence.map_present(places, torch.zeros(3, 2)).any()


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


def test_the_network_sees_a_place_its_neighbours_and_which_place_it_is() -> None:
    torch.manual_seed(0)
    reader = RegionReader(CONFIG, findings=2)
    places = torch.randn(1, 12, 3)
    logits = reader.logits(places)
    assert logits.shape == (1, 2, 12)
    moved = places.clone()
    moved[0, 0] += 1  # at (0, 0, 0); its neighbours reach to (1, 1, 1), not to (., 2, .)
    changed = (reader.logits(moved) != logits)[0].any(dim=0).view(FRAME)
    assert changed[:, :2].all()
    assert not changed[:, 2].any()
    same = reader.logits(torch.ones(1, 12, 3)).view(2, *FRAME)
    with torch.no_grad():
        reader.network.gain_CF[:, 0, 0, 0] = 2
    other = reader.logits(torch.ones(1, 12, 3)).view(2, *FRAME)
    assert not torch.allclose(other[:, 0, 0, 0], same[:, 0, 0, 0])
    torch.testing.assert_close(other[:, 1, 2, 1], same[:, 1, 2, 1])


def test_what_is_shown_is_the_product_of_both_stages() -> None:
    torch.manual_seed(0)
    reader = RegionReader(CONFIG, findings=2)
    reader.evidence = fitted()
    places = torch.randn(2, 12, 3)
    with torch.no_grad():
        expected = reader.evidence(places) / (1 + torch.exp(-reader.logits(places)))
        torch.testing.assert_close(reader.maps(places), expected)
    assert float(expected.amax()) > 0

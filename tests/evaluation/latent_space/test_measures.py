from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import skew
from sklearn.metrics import silhouette_samples

from thoracle.errors import InputError
from thoracle.evaluation.latent_space import measures as space


def _sphere(seed: int, count: int = 60, width: int = 8) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, width))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_values_by_hand() -> None:
    image = np.array([[1.0, 0], [0, 1], [-1, 0]])
    text = np.array([[0.0, 1], [0, 1], [-1, 0]])
    found = space.measure_latent_space(image, text, truth_NK=np.array([[1.0], [0], [0]]), labels=("x",), patients="abc", resamples=20)
    assert found.alignment.value == pytest.approx(2 / 3)  # squared distances 2, 0, 0
    assert found.image.uniformity.value == pytest.approx(math.log((2 * math.exp(-4) + math.exp(-8)) / 3))  # 2, 2 and 4
    assert found.modality_gap.value == pytest.approx(math.hypot(0 + 1 / 3, 1 / 3 - 2 / 3))
    assert found.paired_cosine.value == pytest.approx((0 + 1 + 1) / 3)
    assert found.unpaired_cosine.value == pytest.approx((1 + 0 + 0 - 1 + 0 + 0) / 6)
    assert found.image.mean_length.value == pytest.approx(1 / 3)
    assert 0 <= found.alignment.low <= found.alignment.value <= found.alignment.high <= 2


def test_a_draw_counts_scans_as_often_as_it_holds_them_and_no_scan_against_itself() -> None:
    """Weights 2, 1, 0: the first two alone, and one distance of 2 (squared) between them, whichever of the copies is meant."""
    image = np.array([[1.0, 0], [0, 1], [-1, 0]])
    text = np.array([[0.0, 1], [0, 1], [-1, 0]])
    weights = np.array([[2.0, 1, 0], [3, 0, 0]])
    np.testing.assert_allclose(space.alignment(image, text, weights), [4 / 3, 2])
    uniformity = space.uniformity(image, weights)
    assert uniformity[0] == pytest.approx(-4)
    assert math.isnan(uniformity[1]), "copies of one scan are no pair"
    assert space.mean_length(image, weights)[0] == pytest.approx(math.hypot(2 / 3, 1 / 3))


def test_intervals_cover_what_the_same_sphere_gives_again() -> None:
    """Drawn ten times from one sphere, at least eight intervals hold the mean of the ten."""
    found = [
        space.measure_latent_space(
            _sphere(n, 80), _sphere(n + 100, 80), truth_NK=np.zeros((80, 0)), labels=(), patients=range(80), resamples=200
        )
        for n in range(10)
    ]
    for measure in (lambda s: s.alignment, lambda s: s.image.uniformity, lambda s: s.unpaired_cosine):
        mean = np.mean([measure(one).value for one in found])
        assert sum(measure(one).low <= mean <= measure(one).high for one in found) >= 8


def test_effective_rank_counts_directions() -> None:
    line = np.outer(np.arange(5.0), [1, 2, 3])
    cross = np.concatenate([np.eye(4), -np.eye(4)])  # four directions of equal size
    assert space.effective_rank(line) == pytest.approx(1)
    assert space.effective_rank(cross) == pytest.approx(4)
    assert space.effective_rank(np.ones((5, 3))) == 1


def test_uniformity_is_lowest_where_points_are_evenly_drawn() -> None:
    even = _sphere(0, 200)
    bunched = even + 2 * even[0]
    bunched /= np.linalg.norm(bunched, axis=1, keepdims=True)
    once = np.ones((1, 200))
    assert space.uniformity(even, once)[0] < space.uniformity(bunched, once)[0]
    pairs = [math.exp(-2 * ((a - b) ** 2).sum()) for i, a in enumerate(even) for b in even[:i]]
    assert space.uniformity(even, once)[0] == pytest.approx(math.log(np.mean(pairs)))


def test_hubness_is_the_skewness_of_how_often_one_is_near() -> None:
    cosines = _sphere(1) @ _sphere(2).T
    counts = np.zeros(60)
    for row in cosines:
        counts[np.argsort(-row)[:10]] += 1
    assert space.hubness(cosines) == pytest.approx(skew(counts))
    cosines[:, 0] = 1  # one is near to all
    assert space.hubness(cosines, neighbours=1) > 5
    assert math.isnan(space.hubness(np.eye(5), neighbours=1))


def test_silhouette_leaves_out_what_nobody_labelled() -> None:
    latents, truth = _sphere(3), np.random.default_rng(3).integers(2, size=60).astype(float)
    truth[:7] = np.nan
    assert space.silhouette(latents, truth) == pytest.approx(silhouette_samples(latents[7:], truth[7:], metric="cosine").mean())
    assert math.isnan(space.silhouette(latents, np.ones(60)))


def test_projections_keep_who_is_near_and_repeat() -> None:
    centres = np.repeat(_sphere(4, 3, 8), 20, axis=0)
    latents = centres + 0.05 * np.random.default_rng(0).normal(size=centres.shape)
    for method in space.PROJECTIONS:
        places = space.project(latents, method)
        assert places.shape == (60, 2)
        distances = np.linalg.norm(places[:, None] - places[None], axis=-1) + np.diag(np.full(60, np.inf))
        assert (np.argmin(distances, axis=1) // 20 == np.arange(60) // 20).all()
        np.testing.assert_array_equal(space.project(latents, method), places)


def test_latents_that_are_none_are_refused() -> None:
    good = _sphere(5)
    with pytest.raises(InputError, match="text latents of other norm than 1 in rows 4"):
        space.measure_latent_space(
            good, np.where(np.arange(60)[:, None] == 4, 2 * good, good), truth_NK=np.zeros((60, 0)), labels=(), patients=range(60)
        )
    with pytest.raises(InputError, match="are no space"):
        space.measure_latent_space(good[:2], good[:2], truth_NK=np.zeros((2, 0)), labels=(), patients="ab")
    bad = good.copy()
    bad[2, 0] = np.nan
    with pytest.raises(InputError, match="image latents of other norm than 1 in rows 2"):
        space.measure_latent_space(bad, good, truth_NK=np.zeros((60, 0)), labels=(), patients=range(60))

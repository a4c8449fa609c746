from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from scipy.stats import skew
from sklearn.metrics import silhouette_samples

from thoracle.errors import InputError
from thoracle.evaluation.latent_space import measures as space
from thoracle.evaluation.latent_space.report import GROUPS, pictures, write_page


def _sphere(seed: int, count: int = 60, width: int = 8) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, width))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_values_by_hand() -> None:
    image = np.array([[1.0, 0], [0, 1], [-1, 0]])
    text = np.array([[0.0, 1], [0, 1], [-1, 0]])
    assert space.alignment(image, text) == pytest.approx(2 / 3)  # squared distances 2, 0, 0
    assert space.uniformity(image) == pytest.approx(math.log((2 * math.exp(-4) + math.exp(-8)) / 3))  # 2, 2 and 4
    found = space.measure_latent_space(image, text, truth_NK=np.array([[1.0], [0], [0]]), labels=("x",))
    assert found.modality_gap == pytest.approx(math.hypot(0 + 1 / 3, 1 / 3 - 2 / 3))
    assert found.paired_cosine == pytest.approx((0 + 1 + 1) / 3)
    assert found.unpaired_cosine == pytest.approx((1 + 0 + 0 - 1 + 0 + 0) / 6)
    assert found.image.mean_length == pytest.approx(1 / 3)


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
    assert space.uniformity(even) < space.uniformity(bunched)
    pairs = [math.exp(-2 * ((a - b) ** 2).sum()) for i, a in enumerate(even) for b in even[:i]]
    assert space.uniformity(even) == pytest.approx(math.log(np.mean(pairs)))


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
        space.measure_latent_space(good, np.where(np.arange(60)[:, None] == 4, 2 * good, good), truth_NK=np.zeros((60, 0)), labels=())
    with pytest.raises(InputError, match="are no space"):
        space.measure_latent_space(good[:2], good[:2], truth_NK=np.zeros((2, 0)), labels=())
    bad = good.copy()
    bad[2, 0] = np.nan
    with pytest.raises(InputError, match="image latents of other norm than 1 in rows 2"):
        space.measure_latent_space(bad, good, truth_NK=np.zeros((60, 0)), labels=())


def test_the_page_holds_its_map_and_asks_for_nothing() -> None:
    image, text = _sphere(6, 12), _sphere(7, 12)
    truth, labels = np.random.default_rng(0).integers(2, size=(12, 2)).astype(float), ("x", "</script><b>")
    truth[0, 0] = np.nan
    places = {method: space.project(np.concatenate([image, text]), method) for method in space.PROJECTIONS}
    drawn = pictures(places, truth_NK=truth, labels=labels)
    assert sorted(drawn) == ["pca-labels.png", "pca-number.png", "tsne-labels.png", "tsne-number.png"]
    assert all(content.startswith(b"\x89PNG") for content in drawn.values())
    names = [f"s{n}" for n in range(12)]
    cosines = {"of one scan": (image * text).sum(axis=1)}
    found = space.measure_latent_space(image, text, truth_NK=truth, labels=labels)
    page = write_page(
        found, points=places, names=names, truth_NK=truth, labels=labels, cosines=cosines, drawn=drawn, notes=["12 scans"]
    ).decode()
    data = json.loads(re.search(r'type="application/json">(.*?)</script>', page)[1])
    assert [row["name"] for row in data["rows"]] == names
    assert data["rows"][0]["unknown"] == ["x"]
    assert [row["labels"] for row in data["rows"][1:]] == [[label for label, v in zip(labels, row, strict=True) if v] for row in truth[1:]]
    assert set(data["places"]) == {"t-SNE", "PCA"}
    assert all(len(data["places"][m][h]) == 12 for m in data["places"] for h in ("image", "text"))
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "<b>" not in page
    assert page.count("<script") == 2


def test_groups_are_whole() -> None:
    assert [n for _, low, high in GROUPS for n in range(low, high + 1)] == list(range(19))

"""Whether maps are scored as they should be: by hand, against scikit-learn over voxels, and on scans whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from thoracle.ct.preprocess import PreprocessConfig
from thoracle.evaluation.explanation import ALL, BASELINES, summarise
from thoracle.evaluation.localisation import METRICS, centre_of_lung, localise, random_score
from thoracle.evaluation.masks import share_of_patches
from thoracle.types import ABNORMALITIES


def test_scores_by_hand() -> None:
    share = np.array([0.5, 0.0, 0.25, 0.0])  # of 4 voxels a patch: 2 and 1
    # The best map takes 1 voxel's worth of patches after 0.75 of one: all of it from the first, half of which is the finding.
    np.testing.assert_allclose(localise(np.array([4.0, 1.0, 3.0, 2.0]), share), [1, 0.5, (0.5 * 0.5 + 0.25 * 0.375) / 0.75])
    np.testing.assert_allclose(localise(np.array([1.0, 4.0, 2.0, 3.0]), share)[:2], [0, 0])
    # A map that says nothing: one patch of two is hit, and precision is what is there.
    np.testing.assert_allclose(localise(np.zeros(4), share), [0.5, 0.75 / 4, 0.75 / 4])


def test_auprc_is_that_of_voxels() -> None:
    random = np.random.default_rng(0)
    counts, values = random.integers(0, 9, 30), random.integers(0, 6, 30).astype(float)  # of 8 voxels, with ties
    truth = np.concatenate([np.arange(8) < count for count in counts])
    wanted = average_precision_score(truth, np.repeat(values, 8))
    assert localise(values, counts / 8)[METRICS.index("auprc")] == pytest.approx(wanted)


def test_the_mask_itself_is_the_best_map_and_noise_scores_what_is_there() -> None:
    share = np.zeros((4, 4, 4))
    share[1, 2, 2:] = 1.0
    np.testing.assert_allclose(localise(share, share), 1.0)
    noise = np.mean([random_score(share, seed=[seed]) for seed in range(60)], axis=0)
    assert noise[0] == pytest.approx(2 / 64, abs=0.02)
    assert noise[1] == pytest.approx(2 / 64, abs=0.02)


def test_shares_of_patches_are_of_their_bit() -> None:
    mask = np.zeros((4, 6, 6), np.int64)
    mask[:2, 3:, :3] = 1 << 17
    mask[3, 0, 5] |= 1 << 9
    found = share_of_patches(mask, (2, 2, 2))
    assert found.shape == (18, 2, 2, 2)
    assert found[17, 0, 1, 0] == 1.0
    assert found[9, 1, 0, 1] == 1 / 18
    assert found.sum() == 1 + 1 / 18


def test_without_lungs_the_middle_of_the_scan_is_nearest() -> None:
    config = PreprocessConfig(spacing=(4.0, 4.0, 4.0), size=(24, 24, 24))
    found = centre_of_lung(np.zeros((24, 24, 24), np.float32), config, (3, 3, 3))
    assert np.unravel_index(found.argmax(), found.shape) == (1, 1, 1)


def test_with_lungs_their_middles_are_nearest() -> None:
    config = PreprocessConfig(spacing=(5.0, 5.0, 5.0), size=(40, 64, 48))
    z, x, y = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in config.size), indexing="ij")
    array = np.where((x / 29) ** 2 + (y / 21) ** 2 < 1, 0.04, -1.0)
    for side in (-14, 14):
        array = np.where(((x - side) / 9) ** 2 + (y / 13) ** 2 + (z / 16) ** 2 < 1, -0.85, array)
    found = centre_of_lung(array.astype(np.float32), config, (5, 8, 6))
    best = np.argwhere(found > np.quantile(found, 0.98))
    assert set(best[:, 0]) <= {1, 2, 3}
    assert {1, 2} & set(best[:, 1])
    assert {5, 6} & set(best[:, 1])
    assert not {0, 7} & set(best[:, 1])


def test_a_method_that_is_no_better_is_said_not_to_be() -> None:
    random = np.random.default_rng(0)
    values = np.full((60, 4, 18, 3), np.nan)  # two methods, two baselines; the last abnormality is in no mask
    for k in range(17):
        there = random.random(60) < 0.6
        values[there, :, k] = random.uniform(0.2, 0.4, (there.sum(), 4, 3))
        values[there, 0, k] += 0.3
    patients = [f"p{n // 2}" for n in range(60)]
    found = summarise(values, patients, methods=("gradient", "occlusion"), resamples=200)
    assert set(found) == {ALL, *ABNORMALITIES[:17]}
    for metric in METRICS:
        assert found[ALL].beats(metric, "gradient")
        assert not found[ALL].beats(metric, "occlusion")
        assert found[ALL].over[metric]["gradient"][BASELINES[0]].value == pytest.approx(0.3, abs=0.03)
    mean = np.nanmean(np.nanmean(values[:, 0, :17, 2], axis=0))
    one = found[ALL].scores["auprc"]["gradient"]
    assert one.value == pytest.approx(mean)
    assert one.low < one.value < one.high
    assert found[ABNORMALITIES[3]].volumes == np.count_nonzero(~np.isnan(values[:, 0, 3, 0]))

"""Maps that know nothing, on scans whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from thoracle.ct.preprocess import PreprocessConfig
from thoracle.ct.recipes.orientation import ZXY, view_as
from thoracle.ct.recipes.published import MERLIN
from thoracle.ct.recipes.recipe import ResampleToSpacing
from thoracle.evaluation.explanation.baselines import lung_centre_baseline, random_score
from thoracle.metrics.localization import localization_scores


def test_the_mask_itself_is_the_best_map_and_noise_scores_what_is_there() -> None:
    share = np.zeros((4, 4, 4))
    share[1, 2, 2:] = 1.0
    np.testing.assert_allclose(localization_scores(share, share), 1.0)
    noise = np.mean([random_score(share, seed=[seed]) for seed in range(60)], axis=0)
    assert noise[0] == pytest.approx(2 / 64, abs=0.02)
    assert noise[1] == pytest.approx(2 / 64, abs=0.02)


def test_without_lungs_the_middle_of_the_scan_is_nearest() -> None:
    config = PreprocessConfig(spacing=(4.0, 4.0, 4.0), size=(24, 24, 24))
    found = lung_centre_baseline(np.zeros((24, 24, 24), np.float32), config, (3, 3, 3), spacing=(4.0, 4.0, 4.0))
    assert np.unravel_index(found.argmax(), found.shape) == (1, 1, 1)


def test_with_lungs_their_middles_are_nearest() -> None:
    config = PreprocessConfig(spacing=(5.0, 5.0, 5.0), size=(40, 64, 48))
    z, x, y = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in config.size), indexing="ij")
    array = np.where((x / 29) ** 2 + (y / 21) ** 2 < 1, 0.04, -1.0)
    for side in (-14, 14):
        array = np.where(((x - side) / 9) ** 2 + (y / 13) ** 2 + (z / 16) ** 2 < 1, -0.85, array)
    found = lung_centre_baseline(array.astype(np.float32), config, (5, 8, 6), spacing=config.spacing)
    turned = view_as((array.astype(np.float32) + 1) / 2, ZXY, "RAS")
    recipe = replace(
        MERLIN,
        resampling=ResampleToSpacing(spacing=(5.0, 5.0, 5.0), grid="first-voxel"),
        fit=replace(MERLIN.fit, size=(64, 48, 40)),
    )
    np.testing.assert_allclose(lung_centre_baseline(turned, recipe, (5, 8, 6), spacing=config.spacing), found, atol=1e-6)
    best = np.argwhere(found > np.quantile(found, 0.98))
    assert set(best[:, 0]) <= {1, 2, 3}
    assert {1, 2} & set(best[:, 1])
    assert {5, 6} & set(best[:, 1])
    assert not {0, 7} & set(best[:, 1])

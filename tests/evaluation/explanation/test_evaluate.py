"""Whether scores of maps are summarised as they should be, and a method that is no better is said not to be."""

from __future__ import annotations

import numpy as np
import pytest

from thoracle.evaluation.explanation.evaluate import ALL, BASELINES, summarise
from thoracle.evaluation.explanation.masks import share_of_patches
from thoracle.metrics.localization import METRICS
from thoracle.types import ABNORMALITIES


def test_shares_of_patches_are_of_their_bit() -> None:
    mask = np.zeros((4, 6, 6), np.int64)
    mask[:2, 3:, :3] = 1 << 17
    mask[3, 0, 5] |= 1 << 9
    found = share_of_patches(mask, (2, 2, 2))
    assert found.shape == (18, 2, 2, 2)
    assert found[17, 0, 1, 0] == 1.0
    assert found[9, 1, 0, 1] == 1 / 18
    assert found.sum() == 1 + 1 / 18


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
        assert found[ALL].lead[metric]["gradient"][BASELINES[0]].value == pytest.approx(0.3, abs=0.03)
    assert list(found[ALL].as_dict()) == ["volumes", "scores", "over"], "what explanation.json holds"
    mean = np.nanmean(np.nanmean(values[:, 0, :17, 2], axis=0))
    one = found[ALL].scores["auprc"]["gradient"]
    assert one.value == pytest.approx(mean)
    assert one.low < one.value < one.high
    assert found[ABNORMALITIES[3]].volumes == np.count_nonzero(~np.isnan(values[:, 0, 3, 0]))

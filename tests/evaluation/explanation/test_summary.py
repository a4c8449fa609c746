"""Whether leads over the better atlas are summarized as they should be, and what is no better is said not to be."""

from __future__ import annotations

import numpy as np
import pytest

from thoracle.evaluation.explanation.evaluate import ATLASES, BASELINES, OTHER_SCAN, sources
from thoracle.evaluation.explanation.summary import ALL, BETTER_ATLAS, measured_method, place_rates, summarise
from thoracle.inference.localization.measured import PlaceRate
from thoracle.metrics.localization import METRICS
from thoracle.types import ABNORMALITIES

MAPS = sources("gradient")
PATIENTS = [f"p{n // 2}" for n in range(60)]


def random_values() -> np.ndarray:
    """All maps alike, in some of 60 volumes; the last abnormality is in no mask."""
    random = np.random.default_rng(0)
    values = np.full((60, len(MAPS), 18, len(METRICS)), np.nan)
    for k in range(17):
        present = random.random(60) < 0.6
        values[present, :, k] = random.uniform(0.2, 0.4, (present.sum(), len(MAPS), len(METRICS)))
    return values


def test_a_lead_by_hand() -> None:
    """Two volumes of two patients: own .9 and .5, one atlas .8 and .2, the other .1 and .7."""
    values = np.full((2, len(MAPS), 18, len(METRICS)), np.nan)
    values[:, :, 0] = 0.0
    for name, pair in (("gradient", (0.9, 0.5)), (ATLASES[0], (0.8, 0.2)), (ATLASES[1], (0.1, 0.7))):
        values[:, MAPS.index(name), 0] = np.array(pair)[:, None]
    scores = summarise(values, ["p", "q"], method="gradient", resamples=400)
    assert list(scores) == [ALL, ABNORMALITIES[0]]
    for of in scores.values():
        lead = of.lead["dice"]
        assert lead[ATLASES[0]].value == pytest.approx(0.7 - 0.5)
        assert lead[ATLASES[1]].value == pytest.approx(0.7 - 0.4)
        assert lead[BETTER_ATLAS].value == pytest.approx(0.2)
        # Draws are both, twice the first or twice the second: .2, .1 (over the first atlas), -.2 (over the second).
        assert (lead[BETTER_ATLAS].low, lead[BETTER_ATLAS].high) == (pytest.approx(-0.2), pytest.approx(0.2))
        assert not of.beats_atlas("dice")


def test_what_leads_one_atlas_alone_does_not_lead_the_better() -> None:
    values = random_values()
    values[:, MAPS.index(ATLASES[1]), 1] -= 0.1
    values[:, 0, 0] += 0.3
    scores = summarise(values, PATIENTS, method="gradient", resamples=200)
    assert set(scores) == {ALL, *ABNORMALITIES[:17]}
    ahead, beside_one = scores[ABNORMALITIES[0]], scores[ABNORMALITIES[1]]
    for metric in METRICS:
        assert ahead.beats_atlas(metric)
        assert ahead.lead[metric][BETTER_ATLAS].value == pytest.approx(0.3, abs=0.05)
        assert beside_one.lead[metric][ATLASES[1]].low > 0
        assert not beside_one.beats_atlas(metric)
    assert list(scores[ALL].as_dict()) == ["volumes", "scores", "over"], "what explanation.json holds"
    mean = np.nanmean(np.nanmean(values[:, 0, :17, 2], axis=0))
    own = scores[ALL].scores["auprc"]["gradient"]
    assert own.value == pytest.approx(mean)
    assert own.low < own.value < own.high
    assert ahead.volumes == np.count_nonzero(~np.isnan(values[:, 0, 0, 0]))


def test_a_lead_over_what_is_not_everywhere_is_of_the_volumes_that_have_it() -> None:
    values = random_values()
    values[:, 0, 2] = values[:, MAPS.index(OTHER_SCAN), 2] + 0.1
    values[:30, MAPS.index(OTHER_SCAN), 2] = np.nan
    values[:30, 0, 2] += 5.0
    lead = summarise(values, PATIENTS, method="gradient", resamples=50)[ABNORMALITIES[2]].lead["dice"][OTHER_SCAN]
    assert (lead.value, lead.low, lead.high) == (pytest.approx(0.1),) * 3


def test_the_order_of_volumes_and_of_patients_does_not_matter() -> None:
    """Values, not draws, which are of patients by number."""
    values, order = random_values(), np.random.default_rng(1).permutation(60)
    forward = summarise(values, PATIENTS, method="gradient", resamples=2)
    shuffled = summarise(values[order], [PATIENTS[n] for n in order], method="gradient", resamples=2)
    for name, of in forward.items():
        for metric in METRICS:
            for baseline in (*BASELINES, BETTER_ATLAS):
                assert shuffled[name].lead[metric][baseline].value == pytest.approx(of.lead[metric][baseline].value)


def test_rates_are_counted_and_kept_beside_leads() -> None:
    correct = np.full((60, 2, 18, 2), np.nan)
    correct[:4, 0, 0, 0], correct[:4, 1, 0, 0] = [1, 1, 0, 1], [0, 1, 0, 0]
    assert place_rates(correct)[ABNORMALITIES[0]] == (PlaceRate(scans=4, correct=3, atlas_correct=1), None)
    scores = summarise(random_values(), PATIENTS, method="gradient", resamples=50)
    measured = measured_method(scores, correct, measured_on="60 volumes")
    assert set(measured.findings) == set(ABNORMALITIES[:17])
    first = measured.findings[ABNORMALITIES[0]]
    assert (first.side, first.lobe, first.volumes) == (
        PlaceRate(scans=4, correct=3, atlas_correct=1),
        None,
        scores[ABNORMALITIES[0]].volumes,
    )
    assert first.lead["dice"].score == scores[ABNORMALITIES[0]].scores["dice"]["gradient"].value
    assert first.lead["dice"].low == scores[ABNORMALITIES[0]].lead["dice"][BETTER_ATLAS].low

"""Labels calibrated together: what other logits tell is used, what they do not tell is not, and nothing is fitted to itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from thoracle.evaluation.detection.fit_calibration import calibrated_scores, fit_calibration
from thoracle.evaluation.detection.joint_calibration import PENALTIES, fit_joint
from thoracle.evaluation.detection.summary import Scores
from thoracle.inference.calibration import Calibration
from thoracle.metrics.classification import auroc, brier

LABELS = ("effusion", "atelectasis", "nodule")


def _scores(seed: int, *, patients: int = 1500) -> Scores:
    """Atelectasis follows effusion in nine of ten patients and is hardly seen itself; a nodule is alone."""
    random = np.random.default_rng(seed)
    effusion, nodule = (random.random((2, patients)) < 0.4).astype(float)
    atelectasis = np.where(random.random(patients) < 0.9, effusion, 1 - effusion)
    truth = np.stack([effusion, atelectasis, nodule], axis=1)
    seen = np.array([3.0, 0.5, 1.5]) * (truth - 0.5) + random.standard_normal(truth.shape)
    names = tuple(f"p{number}" for number in range(patients))
    return Scores(names=names, patients=names, labels=LABELS, probabilities_NK=expit(seen), truth_NK=truth)


def _fit(scores: Scores, method: str = "joint") -> Calibration:
    return fit_calibration(scores, method=method, coverage=0.9, weights_sha256="", prompts=(), fitted_on="")


def test_a_finding_speaks_for_another_that_goes_with_it_and_not_for_one_alone() -> None:
    tuned, others = _scores(1), _scores(2)
    alone, together = (calibrated_scores(others, _fit(tuned, method)) for method in ("platt", "joint"))
    before, after = (auroc(scores.probabilities_NK, scores.truth_NK) for scores in (alone, together))
    assert after[1] > before[1] + 0.2, "atelectasis is read from effusion"
    assert abs(after[2] - before[2]) < 0.01, "a nodule from nothing else"
    assert brier(together.probabilities_NK, others.truth_NK)[1] < brier(alone.probabilities_NK, others.truth_NK)[1] - 0.05
    mending = _fit(tuned).mendings["nodule"]
    assert max(map(abs, mending.others.values())) < 0.1 * mending.slope


def test_weights_are_those_of_the_world_they_were_drawn_from() -> None:
    """Two labels that nothing binds: each keeps its own slope and offset, known by hand from the normal densities (3 and 0)."""
    random = np.random.default_rng(0)
    truth = (random.random((20_000, 2)) < 0.5).astype(float)
    names = tuple(f"p{number}" for number in range(len(truth)))
    seen = 3.0 * (truth - 0.5) + random.standard_normal(truth.shape)
    fit = fit_joint(Scores(names=names, patients=names, labels=LABELS[:2], probabilities_NK=expit(seen), truth_NK=truth))
    assert fit.weights_KK == pytest.approx(np.array([[3.0, 0.0], [0.0, 3.0]]), abs=0.1)
    assert fit.offsets_K == pytest.approx([0, 0], abs=0.06)


def test_without_a_relation_labels_are_calibrated_each_by_itself(scores: Callable[..., Scores]) -> None:
    """Logits of noise: the largest penalty predicts best, and gives Platt's numbers."""
    random = np.random.default_rng(3)
    made = scores(patients=60)
    noise = replace(made, truth_NK=(random.random(made.truth_NK.shape) < 0.5).astype(float))
    assert fit_joint(noise).penalty in PENALTIES[:2]
    single, joint = _fit(noise, "platt"), _fit(noise)
    for name in noise.labels:
        assert joint.mendings[name].slope == pytest.approx(single.mendings[name].slope, abs=0.05)


def test_verdicts_bounds_come_from_patients_who_were_not_fitted_to() -> None:
    """A fit of 60 patients to 12 labels of noise would rule itself in; held out it is no better than chance."""
    random = np.random.default_rng(0)
    truth = (random.random((60, 12)) < 0.5).astype(float)
    names = tuple(f"p{number}" for number in range(60))
    noise = Scores(names=names, patients=names, labels=tuple("abcdefghijkl"), probabilities_NK=random.random((60, 12)), truth_NK=truth)
    fit = fit_joint(noise)
    assert auroc(fit.held_out_NK, truth).mean() < 0.6
    in_sample = expit(logit(noise.probabilities_NK) @ fit.weights_KK.T + fit.offsets_K)
    assert auroc(in_sample, truth).mean() > auroc(fit.held_out_NK, truth).mean()


def test_a_label_with_one_answer_is_left_as_it_is_and_unknown_cells_are_left_out() -> None:
    made = _scores(1, patients=300)
    truth = made.truth_NK.copy()
    truth[:, 2], truth[:50, 0] = 0, np.nan
    tuned = replace(made, truth_NK=truth)
    calibration = _fit(tuned)
    assert set(calibration.mendings) == {"effusion", "atelectasis"}
    assert "nodule" not in calibration.mendings["effusion"].others
    after = calibrated_scores(tuned, calibration)
    assert np.array_equal(after.probabilities_NK[:, 2], tuned.probabilities_NK[:, 2])


def test_one_patient_alone_is_fitted_to_himself() -> None:
    made = _scores(1, patients=40)
    assert not np.isnan(fit_joint(replace(made, patients=("one",) * 40)).held_out_NK).any()

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from thoracle.errors import InputError
from thoracle.evaluation.detection.fit_calibration import Method, calibrated_scores, coverages, fit_calibration, verdicts
from thoracle.evaluation.detection.summary import Scores
from thoracle.inference.calibration import Calibration
from thoracle.metrics.classification import brier, calibration_error

Make = Callable[..., Scores]


def _fit(scores: Scores, method: Method = "platt", coverage: float = 0.9) -> Calibration:
    return fit_calibration(scores, method=method, coverage=coverage, weights_sha256="", prompts=(), fitted_on="")


def test_platt_is_logistic_regression_on_logits(scores: Make) -> None:
    """With his targets, a little inside 0 and 1: each scan counts a little for the other answer too."""
    made = scores(patients=400)
    y, x = made.truth_NK[:, 0], logit(made.probabilities_NK[:, 0])
    positive, negative = y.sum(), (1 - y).sum()
    target = np.where(y == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    twice = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(
        np.tile(x, 2)[:, None], np.repeat([1, 0], len(x)), sample_weight=np.concatenate([target, 1 - target])
    )
    found = _fit(made).mendings[made.labels[0]]
    assert [found.slope, found.offset] == pytest.approx([twice.coef_[0, 0], twice.intercept_[0]], rel=1e-3)


def test_temperature_has_the_least_log_loss(scores: Make) -> None:
    made = scores()
    y, x = made.truth_NK[:, 1], logit(made.probabilities_NK[:, 1])
    best = minimize_scalar(lambda s: (np.logaddexp(0, s * x) - y * s * x).mean(), bounds=(0.001, 100), method="bounded")
    found = _fit(made, "temperature").mendings[made.labels[1]]
    assert found.offset == 0
    assert found.slope == pytest.approx(best.x, rel=1e-3)


@pytest.mark.parametrize("method", ["platt", "temperature"])
def test_overconfident_probabilities_are_mended_for_others(scores: Make, method: Method) -> None:
    def sure(made: Scores) -> Scores:
        return replace(made, probabilities_NK=expit(4 * logit(made.probabilities_NK)))

    tuned, others = sure(scores(1, patients=1000)), sure(scores(2, patients=1000))
    after = calibrated_scores(others, _fit(tuned, method))
    assert (brier(after.probabilities_NK, others.truth_NK) < 0.9 * brier(others.probabilities_NK, others.truth_NK)).all()
    if method == "platt":
        before = calibration_error(others.probabilities_NK, others.truth_NK)
        assert (calibration_error(after.probabilities_NK, others.truth_NK) < before / 2).all()


def test_order_stays_even_of_a_model_that_is_wrong_way_round(scores: Make) -> None:
    made = scores(skill=-2)
    after = calibrated_scores(made, _fit(made)).probabilities_NK
    assert (np.diff(after[np.argsort(made.probabilities_NK[:, 0]), 0]) >= 0).all()


def test_separable_labels_have_a_finite_slope() -> None:
    made = Scores(
        names=tuple("abcdefgh"),
        patients=tuple("abcdefgh"),
        labels=("x",),
        probabilities_NK=np.array([[0.1], [0.15], [0.2], [0.25], [0.75], [0.8], [0.85], [0.9]]),
        truth_NK=np.array([[0.0]] * 4 + [[1.0]] * 4),
    )
    assert _fit(made).mendings["x"].slope < 100


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_verdicts_keep_the_right_answer_as_often_as_stated(scores: Make, coverage: float) -> None:
    """The mean over 60 calibrations of 60 patients: conformal coverage is of both draws, calibration and new scans."""
    kept = []
    for seed in range(60):
        calibration = _fit(scores(seed, patients=60), coverage=coverage)
        new = calibrated_scores(scores(1000 + seed, patients=150), calibration)
        for one in coverages(verdicts(new, calibration), new).values():
            kept.append((one.present_kept, one.absent_kept))
    present, absent = np.nanmean(kept, axis=0)
    assert present >= coverage - 0.01
    assert absent >= coverage - 0.01
    assert absent <= coverage + 0.08  # what neither answer fits is "cannot tell" too, so more is kept than stated


def test_a_model_that_knows_nothing_cannot_tell(scores: Make) -> None:
    calibration = _fit(scores(3, skill=0))
    new = calibrated_scores(scores(4, skill=0), calibration)
    assert all(one.cannot_tell > 0.6 for one in coverages(verdicts(new, calibration), new).values())


def test_too_few_scans_rule_nothing_out() -> None:
    made = Scores(
        names=("a", "b", "c"),
        patients=("a", "b", "c"),
        labels=("x",),
        probabilities_NK=np.array([[0.2], [0.7], [0.9]]),
        truth_NK=np.array([[0.0], [1.0], [1.0]]),
    )
    calibration = _fit(made)
    assert set(verdicts(calibrated_scores(made, calibration), calibration).ravel()) == {"cannot tell"}


def test_scans_of_one_patient_count_once(scores: Make) -> None:
    """A patient with a thousand scans must not decide what the others' verdicts are worth."""
    made = scores(5, patients=80)
    many = np.concatenate([np.arange(len(made.names)), np.full(1000, 0)])
    repeated = replace(
        made,
        names=tuple(f"{made.names[row]}-{n}" for n, row in enumerate(many)),
        patients=tuple(made.patients[row] for row in many),
        probabilities_NK=made.probabilities_NK[many],
        truth_NK=made.truth_NK[many],
    )
    for k, one in enumerate(_fit(repeated, "temperature").mendings.values()):
        kept = np.mean(_first(made, k, present=False) <= _unmended(one.rule_out_at, one.slope) + 1e-9)
        assert 0.9 <= kept <= 0.97


def test_labels_with_one_answer_are_left_out(scores: Make) -> None:
    made = scores()
    made.truth_NK[:, 1] = 0
    assert list(_fit(made).mendings) == [made.labels[0], made.labels[2]]
    made.truth_NK[:] = 0
    with pytest.raises(InputError, match="no label has both answers"):
        _fit(made)


def test_a_coverage_that_cannot_be_is_refused(scores: Make) -> None:
    with pytest.raises(InputError, match="coverage must lie between 0 and 1, is 1"):
        _fit(scores(), coverage=1)


def _first(made: Scores, k: int, *, present: bool) -> np.ndarray:
    first = np.unique(np.array(made.patients), return_index=True)[1]
    return made.probabilities_NK[first][made.truth_NK[first, k] == present, k]


def _unmended(mended_probability: float, slope: float) -> float:
    return float(expit(logit(mended_probability) / slope))

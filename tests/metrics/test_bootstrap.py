from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from thoracle.errors import InputError
from thoracle.metrics import classification
from thoracle.metrics.bootstrap import bootstrap, delong, delong_difference, paired_difference, patient_weights, percentile_interval


def _cohort(seed: int, patients: int = 60, scans: int = 1) -> tuple[np.ndarray, np.ndarray, list[str]]:
    random = np.random.default_rng(seed)
    labels = np.repeat(random.integers(2, size=patients), scans).astype(float)
    scores = np.repeat(random.normal(size=patients), scans) + labels + random.normal(size=patients * scans) * 0.1
    return scores, labels, [f"p{i // scans}" for i in range(patients * scans)]


def test_patients_are_drawn_whole_and_as_many_as_there_are() -> None:
    patients = ["a", "b", "a", "c", "b", "a"]
    weights = np.concatenate(list(patient_weights(patients, resamples=200)))
    assert weights.shape == (200, 6)
    a, b, c = weights[:, 0], weights[:, 1], weights[:, 3]
    assert (weights == np.stack([a, b, a, c, b, a], axis=1)).all()
    assert (a + b + c == 3).all()
    assert len(np.unique(weights, axis=0)) > 5  # the published bootstrap gives the same cohort every time


def test_draws_are_spread_as_a_multinomial() -> None:
    weights = np.concatenate(list(patient_weights(list(range(50)), resamples=4000)))
    assert weights.mean() == 1
    assert weights.var() == pytest.approx(1 - 1 / 50, rel=0.02)


def test_the_same_seed_draws_the_same_patients_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(patient_weights(list("abcdef"), resamples=50, seed=3)))
    monkeypatch.setattr("thoracle.metrics.bootstrap._AT_ONCE", 40)
    blocks = list(patient_weights(list("abcdef"), resamples=50, seed=3))
    assert len(blocks) > 5
    assert (np.concatenate(blocks) == whole).all()
    assert (np.concatenate(list(patient_weights(list("abcdef"), resamples=50, seed=4))) != whole).any()


def test_bootstrap_of_a_mean_has_the_standard_error_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(size=400)
    draws = bootstrap(lambda weights: weights @ values / weights.sum(axis=1), list(range(400)), resamples=4000)
    assert draws.std() == pytest.approx(values.std() / np.sqrt(400), rel=0.05)
    (interval,) = percentile_interval(values.mean(), draws)
    reach = 1.96 * values.std() / np.sqrt(400)
    assert [interval.low, interval.high] == pytest.approx([values.mean() - reach, values.mean() + reach], abs=0.01)


def test_bootstrap_and_delong_say_about_the_same() -> None:
    scores, labels, patients = _cohort(0, patients=300)
    draws = bootstrap(lambda weights: classification.auroc(scores[:, None], labels[:, None], weights_RN=weights), patients)
    (drawn,) = percentile_interval(classification.auroc(scores[:, None], labels[:, None]), draws)
    exact = delong(scores, labels)
    assert drawn.value == exact.value == pytest.approx(roc_auc_score(labels, scores))
    assert [drawn.low, drawn.high] == pytest.approx([exact.low, exact.high], abs=0.01)


def test_draws_without_both_answers_are_left_out() -> None:
    scores, labels = np.array([[0.9], [0.2], [0.1]]), np.array([[1.0], [0.0], [0.0]])
    draws = bootstrap(lambda weights: classification.auroc(scores, labels, weights_RN=weights), ["a", "b", "c"])
    assert np.isnan(draws).any()
    (interval,) = percentile_interval(classification.auroc(scores, labels), draws)
    assert (interval.value, interval.low, interval.high) == (1, 1, 1)
    (nothing,) = percentile_interval(np.nan, np.full((5, 1), np.nan))
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()


@pytest.mark.parametrize("scans", [1, 4])
def test_more_scans_of_the_same_patients_are_no_surer(scans: int) -> None:
    """Each patient's scan copied: the figure stays, and so must its interval; drawing scans would halve it."""
    scores, labels, _ = _cohort(1, patients=80)
    one = delong(scores, labels)
    copied, patients = np.repeat(scores, scans), np.repeat(np.arange(80), scans).tolist()
    many = delong(copied, np.repeat(labels, scans), patients=patients)
    assert [many.value, many.low, many.high] == pytest.approx([one.value, one.low, one.high])
    draws = bootstrap(
        lambda weights: classification.auroc(copied[:, None], np.repeat(labels, scans)[:, None], weights_RN=weights), patients
    )
    (drawn,) = percentile_interval(one.value, draws)
    assert [drawn.low, drawn.high] == pytest.approx([one.low, one.high], abs=0.02)


@given(st.integers(0, 10_000), st.integers(4, 30))
def test_delong_is_its_formula_over_all_pairs(seed: int, scans: int) -> None:
    random = np.random.default_rng(seed)
    scores, labels = random.integers(6, size=scans).astype(float), random.integers(2, size=scans).astype(float)
    positive, negative = scores[labels == 1], scores[labels == 0]
    if min(len(positive), len(negative)) < 2:
        return
    order = np.array([(p > n) + 0.5 * (p == n) for p, n in product(positive, negative)]).reshape(len(positive), len(negative))
    variance = order.mean(axis=1).var(ddof=1) / len(positive) + order.mean(axis=0).var(ddof=1) / len(negative)
    got = delong(scores, labels)
    reach = stats.norm.ppf(0.975) * np.sqrt(variance)
    assert got.value == pytest.approx(order.mean())
    assert got.low == pytest.approx(max(0, order.mean() - reach), abs=1e-7)
    assert got.high == pytest.approx(min(1, order.mean() + reach), abs=1e-7)


def test_the_paired_test_is_delongs_covariance() -> None:
    random = np.random.default_rng(5)
    labels = random.integers(2, size=120).astype(float)
    first, second = labels + random.normal(size=120), labels * 0.5 + random.normal(size=120)
    parts = [[(p > n) * 1.0 for p in s[labels == 1] for n in s[labels == 0]] for s in (first, second)]  # no ties in continuous scores
    n_pos, n_neg = int(labels.sum()), int((1 - labels).sum())
    orders = [np.array(part).reshape(n_pos, n_neg) for part in parts]
    s10 = np.cov([order.mean(axis=1) for order in orders])
    s01 = np.cov([order.mean(axis=0) for order in orders])
    covariance = s10 / n_pos + s01 / n_neg
    z = (orders[0].mean() - orders[1].mean()) / np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    got = delong_difference(first, second, labels)
    assert got.value == pytest.approx(orders[0].mean() - orders[1].mean())
    assert got.p == pytest.approx(2 * stats.norm.sf(abs(z)))
    back = delong_difference(second, first, labels)
    assert [back.value, back.low, back.high, back.p] == pytest.approx([-got.value, -got.high, -got.low, got.p])


def test_a_model_does_not_differ_from_itself() -> None:
    scores, labels, patients = _cohort(2)
    same = delong_difference(scores, scores, labels, patients=patients)
    assert (same.value, same.p) == (0, 1)


def test_paired_draws_are_surer_than_unpaired_ones() -> None:
    scores, labels, patients = _cohort(3, patients=150)
    other = scores + np.random.default_rng(0).normal(size=len(scores)) * 0.2
    aurocs = [classification.auroc(s[:, None], labels[:, None]) for s in (scores, other)]
    draws = [bootstrap(lambda w, s=s: classification.auroc(s[:, None], labels[:, None], weights_RN=w), patients) for s in (scores, other)]
    (paired,) = paired_difference(aurocs[0], aurocs[1], draws[0], draws[1])
    exact = delong_difference(scores, other, labels)
    assert [paired.low, paired.high] == pytest.approx([exact.low, exact.high], abs=0.01)
    (single,) = percentile_interval(aurocs[0], draws[0])
    assert paired.high - paired.low < (single.high - single.low) / 2
    assert paired.p == pytest.approx(exact.p, abs=0.1)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Binormal scores of true AUROC Φ(1/√2); 95% of 400 cohorts, give or take three standard errors of that share."""
    truth, held = stats.norm.cdf(1 / np.sqrt(2)), 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        labels = np.repeat([0.0, 1.0], 40)
        interval = delong(random.normal(size=80) + labels, labels)
        held += interval.low <= truth <= interval.high
    assert held / 400 == pytest.approx(0.95, abs=0.033)


def test_one_patient_with_a_finding_gives_no_variance() -> None:
    interval = delong([0.9, 0.8, 0.1, 0.2], [1, 1, 0, 0], patients=["a", "a", "b", "c"])
    assert interval.value == 1
    assert np.isnan([interval.low, interval.high]).all()


def test_nobody_and_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="0 scans"):
        next(patient_weights([]))
    with pytest.raises(InputError, match="0 resamples"):
        next(patient_weights(["a"], resamples=0))
    with pytest.raises(InputError, match="one finite number a scan"):
        delong([0.1, np.nan], [0, 1])

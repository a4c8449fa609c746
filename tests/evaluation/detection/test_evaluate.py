from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from thoracle.errors import InputError
from thoracle.evaluation.detection.cases import LabelledCases, LabelTable, by_scan, join
from thoracle.evaluation.detection.evaluate import EvaluationOptions, evaluate
from thoracle.evaluation.detection.fit_calibration import calibrated_scores, coverages, verdicts
from thoracle.evaluation.detection.protocols import CT_RATE_VALID, PROTOCOLS, Tuning, protocol
from thoracle.metrics.classification import calibration_error

Made = Callable[..., tuple[LabelledCases, LabelTable]]
QUICK = EvaluationOptions(resamples=50)


def test_no_threshold_depends_on_the_labels_that_it_decides(made: Made) -> None:
    """The published thresholds are chosen on the scored labels. Ours: a patient's labels turned round change no threshold of hers."""
    cases, table = made(patients=120)
    before = evaluate(cases, table, protocol=PROTOCOLS["ct-rate"], plan=QUICK)
    hers = np.array([who == "p7" for who in cases.patients])
    turned = replace(cases, truth_NK=np.where(hers[:, None], 1 - cases.truth_NK, cases.truth_NK))
    after = evaluate(turned, table, protocol=PROTOCOLS["ct-rate"], plan=QUICK)
    assert before.thresholds_NK is not None
    assert after.thresholds_NK is not None
    np.testing.assert_array_equal(after.thresholds_NK[hers], before.thresholds_NK[hers])
    assert (after.mended.probabilities_NK[hers] == before.mended.probabilities_NK[hers]).all()
    everyone = evaluate(replace(cases, truth_NK=1 - cases.truth_NK), table, protocol=PROTOCOLS["ct-clip-legacy"], plan=QUICK)
    published = evaluate(cases, table, protocol=PROTOCOLS["ct-clip-legacy"], plan=QUICK)
    assert (everyone.published.thresholds_K != published.published.thresholds_K).any()


@pytest.mark.parametrize(("name", "tuning", "split"), [("holdout", "valid", "test"), ("phantom", "dev", "valid")])
def test_thresholds_of_a_split_do_not_see_the_scored_one(name: str, tuning: str, split: str, made: Made) -> None:
    cases, table = made(patients=200, splits=(tuning, split))
    scored = np.array([of == split for of in cases.splits])
    before = evaluate(cases, table, protocol=PROTOCOLS[name], plan=QUICK)
    turned = replace(cases, truth_NK=np.where(scored[:, None], 1 - cases.truth_NK, cases.truth_NK))
    after = evaluate(turned, table, protocol=PROTOCOLS[name], plan=QUICK)
    np.testing.assert_array_equal(after.thresholds_NK, before.thresholds_NK)
    assert before.tuned_on.startswith(f"split {tuning}: 100 patients")
    assert before.volumes == scored.sum()


def test_dev_gives_thresholds_where_it_is_asked_for_and_train_is_said_to_be_surer(made: Made) -> None:
    cases, table = made(patients=90, splits=("train", "dev", "valid"))
    dev, train = (
        evaluate(cases, table, protocol=PROTOCOLS["ct-rate"], plan=replace(QUICK, threshold_source=source)) for source in ("dev", "train")
    )
    assert (dev.tuned_on.startswith("split dev: 30 patients"), train.tuned_on.startswith("split train: 30 patients")) == (True, True)
    assert ["surer" in " ".join(of.notes) for of in (dev, train)] == [False, True]


def test_no_patient_is_on_both_sides_of_a_fold(made: Made) -> None:
    cases, table = made(patients=100)
    found = evaluate(cases, table, protocol=PROTOCOLS["ct-rate"], plan=QUICK)
    assert found.thresholds_NK is not None
    for who in set(cases.patients):
        hers = found.thresholds_NK[[one == who for one in cases.patients]]
        assert (hers == hers[0]).all()
    assert 1 < len(np.unique(found.thresholds_NK[:, 0])) <= 5


def test_the_scored_split_cannot_give_its_own_thresholds(made: Made) -> None:
    cases, table = made(splits=("valid", "test"))
    with pytest.raises(InputError, match="thresholds cannot come from test, which is scored"):
        evaluate(cases, table, protocol=PROTOCOLS["holdout"], plan=replace(QUICK, threshold_source="test"))


def test_intervals_have_a_width_which_the_published_ones_have_not(made: Made) -> None:
    cases, table = made()
    found = evaluate(cases, table, protocol=PROTOCOLS["ct-clip-legacy"], plan=QUICK)
    for label in cases.labels:
        one = found.summary.by_label[label]["auroc"]
        assert one.low < one.value < one.high
        assert found.delong[label].low < found.delong[label].value < found.delong[label].high
    assert found.thresholds_NK is None
    assert "f1" not in found.summary.by_label[cases.labels[0]]
    assert found.calibration is None


def test_scoring_by_scan_counts_each_scan_once(made: Made) -> None:
    cases, table = made(patients=90)
    volumes = evaluate(cases, table, protocol=PROTOCOLS["ct-rate"], plan=QUICK)
    scans = evaluate(cases, table, protocol=PROTOCOLS["ct-rate"], plan=replace(QUICK, level="scan"))
    assert len(volumes.scored.names) == len(cases.names)
    assert len(scans.scored.names) == 90
    assert (scans.volumes, scans.scans, scans.patients) == (len(cases.names), 90, 90)
    about = protocol("ct-rate").about
    assert all(f"{number:,}" in about for number in CT_RATE_VALID)


def test_a_label_with_one_answer_is_nan_and_named(made: Made) -> None:
    cases, table = made()
    cases.truth_NK[:, 1] = 0
    found = evaluate(cases, table, protocol=PROTOCOLS["ct-rate"], plan=QUICK)
    assert math.isnan(found.summary.by_label[cases.labels[1]]["auroc"].value)
    assert any(note.startswith(f"{cases.labels[1]}: the scored scans have one answer only") for note in found.notes)
    both = [found.summary.by_label[cases.labels[k]]["auroc"].value for k in (0, 2)]
    assert found.summary.average["macro_auroc"].value == pytest.approx(np.mean(both))


def test_volumes_without_labels_are_left_out_and_counted(made: Made) -> None:
    cases, table = made()
    cases.truth_NK[:3] = np.nan
    found = evaluate(cases, table, protocol=PROTOCOLS["ct-rate"], plan=QUICK)
    assert found.volumes == len(cases.names) - 3
    assert "3 volumes in split valid have no labels, and are left out." in found.notes
    cases.truth_NK[:] = np.nan
    with pytest.raises(InputError, match="no volume with labels in split valid"):
        evaluate(cases, table, protocol=PROTOCOLS["ct-rate"], plan=QUICK)


def test_calibration_is_of_others_and_better(made: Made) -> None:
    cases, table = made(patients=400)
    found = evaluate(cases, table, protocol=PROTOCOLS["ct-rate"], plan=QUICK)
    assert found.calibrated is not None
    for label in cases.labels:
        own, after = found.summary.by_label[label]["brier"].value, found.calibrated.by_label[label]["brier"].value
        assert after < own
        assert found.coverages[label].absent_kept > 0.85
    assert found.calibration is not None
    assert list(found.calibration.mendings) == list(cases.labels)


@pytest.mark.parametrize("source", ["folds", "dev"])
def test_what_is_kept_is_right_for_single_volumes_though_scans_were_scored(source: Tuning) -> None:
    """Three volumes a scan: with a calibration fitted to their mean, ECE of single ones was 0.175, and coverage 0.725 and 0.774."""
    random = np.random.default_rng(0)
    scans = 6000
    truth = np.repeat(random.random((scans, 1)) < 0.4, 3, axis=0).astype(float)
    given = expit(1.0 * (2 * truth - 1) + 2.0 * random.normal(size=truth.shape))
    names = tuple(f"s{n // 3}_{n % 3}" for n in range(3 * scans))
    who = tuple(f"s{n // 3}" for n in range(3 * scans))
    splits = tuple(("dev", "valid", "test")[n // 3 % 3] for n in range(3 * scans))
    cases = LabelledCases(names=names, patients=who, scans=who, splits=splits, labels=("nodule",), truth_NK=truth)
    table = LabelTable(names=names, columns=("nodule",), values_NK=given, about={})
    found = evaluate(cases, table, protocol=PROTOCOLS["phantom"], plan=replace(QUICK, level="scan", threshold_source=source))
    assert found.calibration is not None
    assert "volumes" in found.calibration.fitted_on or source == "folds"
    test = cases.select([split == "test" for split in splits])
    single = calibrated_scores(join(test, table), found.calibration)
    assert calibration_error(single.probabilities_NK, single.truth_NK)[0] < 0.03
    coverage = coverages(verdicts(single, found.calibration), single)["nodule"]
    assert (coverage.present_kept, coverage.absent_kept) == (pytest.approx(0.9, abs=0.025), pytest.approx(0.9, abs=0.025))
    means = calibrated_scores(by_scan(join(test, table), test), found.calibration)
    assert calibration_error(means.probabilities_NK, means.truth_NK)[0] > 0.06, "the mean is another quantity"


def test_a_protocol_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="There are ct-rate, ct-clip-legacy, rad-chestct, phantom, holdout"):
        protocol("ct_rate")


def test_labels_calibrated_together_are_compared_with_each_by_itself(made: Made) -> None:
    """The third label is made the first again, and its probabilities noise: only the first label's can tell it."""
    cases, table = made(patients=300, splits=("dev", "valid"))
    cases.truth_NK[:, 2] = cases.truth_NK[:, 0]
    table.values_NK[:, 2] = np.random.default_rng(0).uniform(0.1, 0.9, len(table.names))
    plan = replace(QUICK, method="joint")
    together = evaluate(cases, table, protocol=PROTOCOLS["phantom"], plan=plan)
    assert together.joint_gain["macro_auroc"].low > 0.05
    assert together.joint_gain["macro_brier"].high < 0
    assert together.calibrated.by_label[cases.labels[2]]["auroc"].value > together.summary.by_label[cases.labels[2]]["auroc"].value + 0.2
    alone = evaluate(cases, table, protocol=PROTOCOLS["phantom"], plan=QUICK)
    gain = together.calibrated.average["macro_brier"].value - alone.calibrated.average["macro_brier"].value
    assert together.joint_gain["macro_brier"].value == pytest.approx(gain)
    assert (alone.joint_gain, "macro_auroc" in alone.calibrated.average) == ({}, False)
    folds = evaluate(cases, table, protocol=PROTOCOLS["ct-rate"], plan=plan)
    assert set(folds.joint_gain) == {"macro_brier"}, "what five calibrations say of five parts is not ranked together"


def test_how_probabilities_go_together_stands_beside_labels(made: Made) -> None:
    cases, table = made(patients=300)
    cases.truth_NK[:, 2] = cases.truth_NK[:, 0]
    table.values_NK[:, 2] = table.values_NK[:, 1]
    agreement = evaluate(cases, table, protocol=PROTOCOLS["ct-clip-legacy"], plan=QUICK).cooccurrence
    pairs = [(0, 1), (0, 2), (1, 2)]
    said, true = ([np.corrcoef(of[:, a], of[:, b])[0, 1] for a, b in pairs] for of in (table.values_NK, cases.truth_NK))
    assert said[2] == pytest.approx(1)
    assert agreement.probabilities == pytest.approx(np.abs(said).mean())
    assert agreement.labels == pytest.approx(np.abs(true).mean())
    assert agreement.pattern < 0, "probabilities tie another pair than labels do"

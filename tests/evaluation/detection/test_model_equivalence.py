"""Two models on the same scans: what changes, by hand, and what cannot be measured."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from thoracle.cohort.manifest import Cohort
from thoracle.errors import CacheDamaged
from thoracle.evaluation.detection.model_equivalence import Answers, compare_answers, run_both
from thoracle.inference.prepare import PreparedVolume

#: Of label x the first model has all 4 pairs in order, the second 3 of them; y is the same; nobody has z.
TRUTH = np.array([[1.0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]])
BEFORE = [(0.9, 0.9, 0.1), (0.8, 0.1, 0.1), (0.4, 0.8, 0.1), (0.1, 0.2, 0.1)]
AFTER = [(0.9, 0.9, 0.1), (0.3, 0.1, 0.1), (0.4, 0.8, 0.1), (0.1, 0.2, 0.3)]
PATIENTS = ("p", "q", "r", "s")


def _answers() -> Answers:
    return Answers(before=list(BEFORE), after=list(AFTER), before_s=[1.0, 9.0, 2.0], after_s=[4.0, 3.0, 5.0])


def test_what_changes_is_worked_by_hand() -> None:
    report = compare_answers(_answers(), TRUTH, patients=PATIENTS, labels=("x", "y", "z"), resamples=50)
    assert (report.before, report.after) == (1.0, 0.875), "the mean of 1 and 1, and of 3/4 and 1: z has one answer only"
    assert report.change.value == -0.125
    assert report.change.low <= -0.125 <= report.change.high <= 0
    assert (report.label, report.fall) == ("x", 0.25)
    assert report.largest == pytest.approx(0.5)
    assert report.mean == pytest.approx((0.5 + 0.2) / 12)
    assert report.seconds == (2.0, 4.0)


def test_a_rise_has_a_sign_of_its_own() -> None:
    answers = Answers(before=list(AFTER), after=list(BEFORE), before_s=[1.0], after_s=[1.0])
    report = compare_answers(answers, TRUTH, patients=PATIENTS, labels=("x", "y", "z"), resamples=50)
    assert report.change.value == 0.125
    assert (report.label, report.fall) == ("y", 0.0), "the least good of those that can be measured"


def test_without_a_label_of_both_answers_nothing_is_claimed() -> None:
    report = compare_answers(_answers(), np.full((4, 3), np.nan), patients=PATIENTS, labels=("x", "y", "z"), resamples=5)
    assert all(math.isnan(value) for value in (report.before, report.after, report.fall, report.change.value, report.change.p))
    assert report.largest == pytest.approx(0.5), "probabilities change, whoever has what"


def test_both_models_get_each_volume_once_in_order(cached_cohort: Callable[..., Cohort]) -> None:
    cohort, answers = cached_cohort([("a", "valid", "", (1,), 100), ("b", "valid", "", (0,), 300)]), Answers()
    boxes = []

    def before(prepared: PreparedVolume) -> tuple[float, ...]:
        boxes.append(prepared.box)
        return (float(prepared.array.mean()),)

    names = run_both(before, lambda prepared: (2 * float(prepared.array.mean()),), cohort, cohort.entries, answers)
    assert list(names) == ["v0.nii", "v1.nii"]
    assert boxes == [entry.box for entry in cohort.entries], "by which a model of regions tells places"
    np.testing.assert_allclose(answers.before, [[0.1], [0.3]], atol=1e-3)  # units of 1000 HU
    np.testing.assert_allclose(answers.after, [[0.2], [0.6]], atol=1e-3)
    assert [len(seconds) for seconds in (answers.before_s, answers.after_s)] == [2, 2]
    assert all(second >= 0 for second in (*answers.before_s, *answers.after_s))


def test_a_damaged_volume_is_an_error(cached_cohort: Callable[..., Cohort]) -> None:
    cohort = cached_cohort([("a", "valid", "", (1,), 100)])
    (cohort.folder / cohort.entries[0].cache).write_bytes(b"")
    with pytest.raises(CacheDamaged):
        list(run_both(lambda _: (0.5,), lambda _: (0.5,), cohort, cohort.entries, Answers()))

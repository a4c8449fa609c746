from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thoracle.errors import InputError
from thoracle.evaluation.detection.cases import LabelledCases, LabelTable
from thoracle.evaluation.detection.compare import compare
from thoracle.evaluation.detection.evaluate import EvaluationOptions, evaluate
from thoracle.evaluation.detection.protocols import PROTOCOLS
from thoracle.evaluation.detection.results_json import EvaluationRun, as_dict, read_run
from thoracle.metrics.bootstrap import delong_difference

Made = Callable[..., tuple[LabelledCases, LabelTable]]


def _run(tmp_path: Path, name: str, cases: LabelledCases, table: LabelTable) -> EvaluationRun:
    values = as_dict(evaluate(cases, table, protocol=PROTOCOLS["ct-rate"], plan=EvaluationOptions(resamples=20)), model={"table": name})
    path = tmp_path / name / "results.json"
    path.parent.mkdir()
    path.write_text(json.dumps(values))
    return read_run(path)


@pytest.fixture
def runs(made: Made, tmp_path: Path) -> tuple[EvaluationRun, EvaluationRun]:
    cases, good = made(patients=150)
    worse = replace(good, values_NK=np.clip(good.values_NK + np.random.default_rng(1).normal(size=good.values_NK.shape) * 0.3, 0, 1))
    return _run(tmp_path, "good", cases, good), _run(tmp_path, "worse", cases, worse)


def test_the_better_model_is_found_better(runs: tuple[EvaluationRun, EvaluationRun]) -> None:
    found = compare(*runs, resamples=300)
    one = found.average["macro_auroc"]
    assert 0 < one.low < one.value < one.high
    assert one.p < 0.05
    assert {"macro_f1", "f1_micro", "macro_brier"} <= set(found.average)
    good, worse = runs
    for k, label in enumerate(good.scores.labels):
        exact = delong_difference(
            good.scores.probabilities_NK[:, k],
            worse.scores.probabilities_NK[:, k],
            good.scores.truth_NK[:, k],
            patients=good.scores.patients,
        )
        assert found.delong[label] == exact
        drawn = found.by_label[label]["auroc"]
        assert [drawn.low, drawn.high] == pytest.approx([exact.low, exact.high], abs=0.03)


def test_turned_round_it_is_the_same_with_another_sign(runs: tuple[EvaluationRun, EvaluationRun]) -> None:
    forth, back = compare(*runs, resamples=50), compare(*runs[::-1], resamples=50)
    for name, one in forth.average.items():
        assert [back.average[name].value, back.average[name].low] == pytest.approx([-one.value, -one.high])


def test_rows_and_columns_may_be_in_another_order(runs: tuple[EvaluationRun, EvaluationRun]) -> None:
    good, worse = runs
    rows, columns = np.arange(len(worse.scores.names))[::-1], [2, 0, 1]
    assert worse.thresholds_NK is not None
    turned = replace(
        worse,
        scores=replace(
            worse.scores,
            names=worse.scores.names[::-1],
            patients=worse.scores.patients[::-1],
            labels=tuple(worse.scores.labels[k] for k in columns),
            probabilities_NK=worse.scores.probabilities_NK[rows][:, columns],
            truth_NK=worse.scores.truth_NK[rows][:, columns],
        ),
        thresholds_NK=worse.thresholds_NK[rows][:, columns],
    )
    assert compare(good, turned, resamples=20).average == compare(good, worse, resamples=20).average


def test_a_model_does_not_differ_from_itself(runs: tuple[EvaluationRun, EvaluationRun]) -> None:
    found = compare(runs[0], runs[0], resamples=50)
    assert all((one.value, one.low, one.high, one.p) == (0, 0, 0, 1) for one in found.average.values())


def test_other_scans_and_labels_are_named(runs: tuple[EvaluationRun, EvaluationRun]) -> None:
    good, worse = runs
    others = replace(worse, scores=replace(worse.scores, names=("else", *worse.scores.names[1:])))
    with pytest.raises(InputError, match="2 scans are in one run only: else, p0_a_1"):
        compare(good, others)
    with pytest.raises(InputError, match="the runs have other labels: Cardiomegaly, Something"):
        compare(good, replace(worse, scores=replace(worse.scores, labels=(*worse.scores.labels[:2], "Something"))))
    truth = worse.scores.truth_NK.copy()
    truth[4, 0] = 1 - truth[4, 0]
    with pytest.raises(InputError, match=f"of the same scans: {worse.scores.names[4]}"):
        compare(good, replace(worse, scores=replace(worse.scores, truth_NK=truth)))

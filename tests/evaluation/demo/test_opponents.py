"""The supervised opponent on the demo's page: averages and paired differences, worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from thoracle.errors import InputError
from thoracle.evaluation.demo.opponents import METRICS, compare_opponents, section, sentences
from thoracle.evaluation.demo.page import CONTRASTIVE, LIPRO, SUPERVISED, TUNED
from thoracle.evaluation.detection.results_json import EvaluationRun
from thoracle.evaluation.detection.summary import Scores

NAMES = ("a", "b", "c", "d")
TRUTH = np.array([[1.0], [1.0], [0.0], [0.0]])


def _run(*column: float) -> EvaluationRun:
    """One label, decided at 0.5."""
    scores = Scores(names=NAMES, patients=NAMES, labels=("x",), probabilities_NK=np.array(column)[:, None], truth_NK=TRUTH)
    return EvaluationRun(name="", scores=scores, thresholds_NK=np.full((4, 1), 0.5))


#: By hand: zero-shot has 3 of 4 pairs in order, one hit, one false alarm; the supervised model all pairs, both hits, no alarm.
RUNS = {
    CONTRASTIVE: _run(0.9, 0.3, 0.6, 0.1),
    TUNED: _run(0.9, 0.8, 0.6, 0.1),
    LIPRO: _run(0.9, 0.8, 0.2, 0.1),
    SUPERVISED: _run(0.9, 0.8, 0.2, 0.1),
}
VOLUMES = {CONTRASTIVE: 9600, TUNED: 9601, LIPRO: 38400, SUPERVISED: 19200}


def test_each_model_stands_beside_the_supervised_one() -> None:
    opponents = compare_opponents(RUNS)
    expected = {"macro_auroc": 0.75, "macro_f1": 0.5, "macro_accuracy": 0.5, "macro_precision": 0.5}
    assert {metric: opponents.values[CONTRASTIVE][metric].value for metric in METRICS} == expected
    assert opponents.differences.keys() == {CONTRASTIVE, TUNED, LIPRO}
    assert {m: opponents.differences[CONTRASTIVE][m].value for m in METRICS} == {m: value - 1 for m, value in expected.items()}
    equal = opponents.differences[LIPRO]["macro_auroc"]
    assert (equal.value, equal.low, equal.high) == (0, 0, 0)
    tuned = opponents.differences[TUNED]
    assert tuned["macro_precision"].value == pytest.approx(2 / 3 - 1)
    assert tuned["macro_accuracy"].value == -0.25


def test_the_page_says_what_each_has_seen_and_the_differences() -> None:
    opponents = compare_opponents(RUNS)
    content = "".join(section(opponents, volumes=VOLUMES))
    for words in ("9,600 volumes with reports", "these, and 9,601 volumes with labels", "19,200 volumes with labels"):
        assert words in content
    assert content.count("<td>less supervised</td>") == 3, "of the supervised model itself there is none"
    assert "<td>-0.250 (" in content
    assert [sentence.split(" less")[0] for sentence in sentences(opponents)] == [CONTRASTIVE, TUNED, LIPRO]
    assert "AUROC -0.250 (" in sentences(opponents)[0]
    assert "precision +0.000 (+0.000 to +0.000)." in sentences(opponents)[2]


def test_runs_of_other_scans_are_refused() -> None:
    other = replace(RUNS[TUNED].scores, names=("a", "b", "c", "e"))
    with pytest.raises(InputError, match="in one run only"):
        compare_opponents({**RUNS, TUNED: replace(RUNS[TUNED], scores=other)})

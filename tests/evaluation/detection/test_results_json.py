"""A run's JSON: every figure, null where there is none, and read back as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thoracle.errors import MetadataError
from thoracle.evaluation.detection.cases import LabelledCases, LabelTable
from thoracle.evaluation.detection.evaluate import Evaluation, EvaluationOptions, evaluate
from thoracle.evaluation.detection.protocols import PROTOCOLS
from thoracle.evaluation.detection.results_json import SCHEMA, as_dict, read_run
from thoracle.types import RESEARCH_USE

Made = Callable[..., tuple[LabelledCases, LabelTable]]
QUICK = EvaluationOptions(resamples=20)


@pytest.fixture
def evaluation(made: Made) -> Evaluation:
    """The second label has one answer only, and the third is unknown in a scan."""
    cases, table = made(patients=60)
    cases.truth_NK[:, 1] = 0
    cases.truth_NK[0, 2] = np.nan
    return evaluate(cases, table, protocol=PROTOCOLS["ct-rate"], plan=QUICK)


def _document(evaluation: Evaluation, **model: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(as_dict(evaluation, model=model), allow_nan=False))
    return document


def test_figures_stand_under_their_names_and_what_there_is_none_of_is_null(evaluation: Evaluation) -> None:
    document, (first, second, third) = _document(evaluation, kind="ct-clip"), evaluation.scored.labels
    assert (document["schema"], document["notice"], document["model"]) == (SCHEMA, RESEARCH_USE, {"kind": "ct-clip"})
    assert (document["protocol"]["name"], document["protocol"]["resamples"], document["protocol"]["scored"]) == ("ct-rate", 20, "valid")
    assert document["scored"] == {"patients": 60, "scans": 60, "volumes": evaluation.volumes}
    auroc = evaluation.summary.by_label[first]["auroc"]
    assert document["labels"][first]["own"]["auroc"] == {
        "value": pytest.approx(auroc.value),
        "low": pytest.approx(auroc.low),
        "high": pytest.approx(auroc.high),
    }
    none = {"value": None, "low": None, "high": None}
    assert document["labels"][second]["own"]["auroc"] == document["labels"][second]["delong_auroc"] == none
    truth = evaluation.scored.truth_NK[:, 2]
    assert (document["labels"][third]["positives"], document["labels"][third]["negatives"]) == ((truth == 1).sum(), (truth == 0).sum())
    assert document["labels"][third]["positives"] + document["labels"][third]["negatives"] == evaluation.volumes - 1
    published = document["published"]
    assert published["labels"][second]["f1_of_both_answers"] is None
    known = [published["labels"][label]["f1_of_both_answers"] for label in (first, third)]
    assert published["mean"]["f1_of_both_answers"] == pytest.approx(sum(known) / 2)
    assert document["scans"]["truth"][0][2] is None


def test_the_published_way_has_neither_thresholds_nor_calibration(made: Made) -> None:
    document = _document(evaluate(*made(patients=60), protocol=PROTOCOLS["ct-clip-legacy"], plan=QUICK))
    assert document["average"]["calibrated"] is None
    assert document["scans"]["thresholds"] is None
    assert all(values["calibrated"] is None and values["verdicts"] is None for values in document["labels"].values())


def test_a_run_is_read_back_and_named_by_its_folder(evaluation: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "first" / "results.json"
    path.parent.mkdir()
    path.write_text(json.dumps(as_dict(evaluation, model={})))
    run, before = read_run(path), evaluation.scored
    assert (run.name, run.scores.names, run.scores.patients, run.scores.labels) == ("first", before.names, before.patients, before.labels)
    np.testing.assert_allclose(run.scores.probabilities_NK, before.probabilities_NK, rtol=1e-8)
    np.testing.assert_array_equal(run.scores.truth_NK, before.truth_NK)
    np.testing.assert_allclose(run.thresholds_NK, evaluation.thresholds_NK, rtol=1e-8)


@pytest.mark.parametrize(
    "scans",
    [
        {"names": ["a"], "patients": ["p", "q"], "probabilities": [[0.5]], "truth": [[1]], "thresholds": None},
        {"names": ["a"], "patients": ["p"], "probabilities": [[0.5, 0.5]], "truth": [[1]], "thresholds": None},
        {"names": ["a"], "patients": ["p"], "probabilities": [["high"]], "truth": [[1]], "thresholds": None},
    ],
    ids=["patients", "columns", "words"],
)
def test_scans_that_contradict_themselves_are_refused(tmp_path: Path, scans: dict[str, Any]) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"schema": SCHEMA, "labels": {"x": {}}, "scans": scans}))
    with pytest.raises(MetadataError, match="is no run"):
        read_run(path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": "thoracle.evaluation/2"}', '{"schema": "thoracle.evaluation/1", "scans": {}}']
)
def test_what_is_no_run_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(MetadataError, match="is no run"):
        read_run(path)


def test_how_labels_go_together_is_written_down(made: Made) -> None:
    cases, table = made(patients=80, splits=("dev", "valid"))
    joint = evaluate(cases, table, protocol=PROTOCOLS["phantom"], plan=EvaluationOptions(resamples=20, method="joint"))
    document = _document(joint)
    assert document["cooccurrence"]["labels"] == pytest.approx(joint.cooccurrence.labels)
    assert document["joint_gain"]["macro_auroc"] == {
        name: pytest.approx(getattr(joint.joint_gain["macro_auroc"], name)) for name in ("value", "low", "high", "p")
    }

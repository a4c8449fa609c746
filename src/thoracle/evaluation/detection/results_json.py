"""Write a run's JSON with every figure and each scan's probabilities, and read it back to compare runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from thoracle.errors import MetadataError
from thoracle.evaluation.detection.evaluate import Evaluation
from thoracle.evaluation.detection.summary import Scores, Summary
from thoracle.files.json_file import read_json_object
from thoracle.metrics.bootstrap import Interval
from thoracle.types import RESEARCH_USE, FloatArray
from thoracle.version import __version__

SCHEMA: Final = "thoracle.evaluation/1"
_BUDGET: Final = 1 << 29


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationRun:
    """Hold what `compare` needs of a run's JSON."""

    name: str
    scores: Scores
    thresholds_NK: FloatArray | None


def as_dict(evaluation: Evaluation, *, model: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON values; null for what is NaN. `model` is what there is to say of it: hash, kind, whether it was trained."""
    counts = evaluation.published.counts
    published = {
        label: _numbers(
            threshold=evaluation.published.thresholds_K[k],
            f1_of_both_answers=counts.f1_of_both_answers[k],
            accuracy=counts.accuracy[k],
            precision=counts.precision[k],
        )
        for k, label in enumerate(evaluation.scored.labels)
    }
    return {
        "schema": SCHEMA,
        "notice": RESEARCH_USE,
        "thoracle": __version__,
        "protocol": {
            "name": evaluation.protocol.name,
            "about": evaluation.protocol.about,
            "scored": evaluation.protocol.scored,
            **asdict(evaluation.plan),
        },
        "model": dict(model),
        "scored": {"patients": evaluation.patients, "scans": evaluation.scans, "volumes": evaluation.volumes},
        "tuned_on": evaluation.tuned_on,
        "notes": list(evaluation.notes),
        "labels": {
            label: {
                "positives": int((evaluation.scored.truth_NK[:, k] == 1).sum()),
                "negatives": int((evaluation.scored.truth_NK[:, k] == 0).sum()),
                "own": _intervals(evaluation.summary.by_label[label]),
                "calibrated": None if evaluation.calibrated is None else _intervals(evaluation.calibrated.by_label[label]),
                "delong_auroc": _interval(evaluation.delong[label]),
                "verdicts": _numbers(**asdict(evaluation.coverages[label])) if label in evaluation.coverages else None,
            }
            for k, label in enumerate(evaluation.scored.labels)
        },
        "average": {
            "own": _average(evaluation.summary),
            "calibrated": None if evaluation.calibrated is None else _average(evaluation.calibrated),
        },
        "cooccurrence": _numbers(**asdict(evaluation.cooccurrence)),
        "joint_gain": {name: _numbers(**asdict(gain)) for name, gain in evaluation.joint_gain.items()},
        "published": {"labels": published, "mean": {name: _mean(published, name) for name in next(iter(published.values()))}},
        "scans": {
            "names": list(evaluation.scored.names),
            "patients": list(evaluation.scored.patients),
            "probabilities": _table(evaluation.scored.probabilities_NK),
            "truth": _table(evaluation.scored.truth_NK),
            "thresholds": None if evaluation.thresholds_NK is None else _table(evaluation.thresholds_NK),
        },
    }


def read_run(path: Path) -> EvaluationRun:
    """Read a run's JSON.

    Raises:
        MetadataError: something else.
    """
    scores, thresholds = read_json_object(
        path,
        parse=_parse,
        refusal=MetadataError,
        detail="is no run",
        hint="Give a results.json that `thoracle evaluate detection` wrote.",
        tag=("schema", SCHEMA),
        budget=_BUDGET,
    )
    return EvaluationRun(name=path.parent.name or path.stem, scores=scores, thresholds_NK=thresholds)


def _parse(values: Mapping[str, Any]) -> tuple[Scores, FloatArray | None]:
    scans, labels = values["scans"], tuple(map(str, values["labels"]))
    names, shape = tuple(map(str, scans["names"])), (len(scans["names"]), len(labels))
    patients = tuple(map(str, scans["patients"]))
    if len(patients) != len(names):
        raise ValueError(f"{len(patients)} patients of {len(names)} scans")
    scores = Scores(
        names=names,
        patients=patients,
        labels=labels,
        probabilities_NK=_array(scans["probabilities"], shape),
        truth_NK=_array(scans["truth"], shape),
    )
    return scores, None if scans["thresholds"] is None else _array(scans["thresholds"], shape)


def _array(values: Any, shape: tuple[int, int]) -> FloatArray:
    """`null` is NaN."""
    array = np.array(values, dtype=np.float64).reshape(shape)
    return array


def _table(values: FloatArray) -> list[list[float | None]]:
    return [[_number(value) for value in row] for row in values]


def _intervals(intervals: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: _interval(interval) for name, interval in intervals.items()}


def _average(summary: Summary) -> dict[str, Any]:
    return _intervals(summary.average)


def _interval(interval: Interval) -> dict[str, float | None]:
    return {"value": _number(interval.value), "low": _number(interval.low), "high": _number(interval.high)}


def _numbers(**values: float) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.9g}")


def _mean(rows: Mapping[str, Mapping[str, float | None]], name: str) -> float | None:
    values_of_name = [value for row in rows.values() if (value := row[name]) is not None]
    return sum(values_of_name) / len(values_of_name) if values_of_name else None

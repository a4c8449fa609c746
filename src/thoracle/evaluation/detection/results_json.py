"""A run's JSON: every figure of an evaluation, and the scans' probabilities, so that runs can be compared."""

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
    """JSON values; null for what is NaN. `model` is what there is to say of it: hash, kind, whether it was trained."""
    counts, scored = evaluation.published.counts, evaluation
    published = {
        label: _numbers(
            threshold=scored.published.thresholds_K[k],
            f1_of_both_answers=counts.f1_of_both_answers[k],
            accuracy=counts.accuracy[k],
            precision=counts.precision[k],
        )
        for k, label in enumerate(scored.scored.labels)
    }
    return {
        "schema": SCHEMA,
        "notice": RESEARCH_USE,
        "thoracle": __version__,
        "protocol": {"name": scored.protocol.name, "about": scored.protocol.about, "scored": scored.protocol.scored, **asdict(scored.plan)},
        "model": dict(model),
        "scored": {"patients": scored.patients, "scans": scored.scans, "volumes": scored.volumes},
        "tuned_on": scored.tuned_on,
        "notes": list(scored.notes),
        "labels": {
            label: {
                "positives": int((scored.scored.truth_NK[:, k] == 1).sum()),
                "negatives": int((scored.scored.truth_NK[:, k] == 0).sum()),
                "own": _intervals(scored.summary.by_label[label]),
                "calibrated": None if scored.calibrated is None else _intervals(scored.calibrated.by_label[label]),
                "delong_auroc": _interval(scored.delong[label]),
                "verdicts": _numbers(**asdict(scored.coverages[label])) if label in scored.coverages else None,
            }
            for k, label in enumerate(scored.scored.labels)
        },
        "average": {"own": _average(scored.summary), "calibrated": None if scored.calibrated is None else _average(scored.calibrated)},
        "published": {"labels": published, "mean": {name: _mean(published, name) for name in next(iter(published.values()))}},
        "scans": {
            "names": list(scored.scored.names),
            "patients": list(scored.scored.patients),
            "probabilities": _table(scored.scored.probabilities_NK),
            "truth": _table(scored.scored.truth_NK),
            "thresholds": None if scored.thresholds_NK is None else _table(scored.thresholds_NK),
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

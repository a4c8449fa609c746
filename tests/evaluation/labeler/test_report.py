"""The document of how well reports are labelled."""

from __future__ import annotations

import json
import math

from thoracle.evaluation.detection.summary import Summary
from thoracle.evaluation.labeler.report import AVERAGE_METRICS, LABEL_METRICS, SCHEMA, labeler_json
from thoracle.metrics.bootstrap import Interval
from thoracle.types import RESEARCH_USE


def test_every_metric_is_there_and_one_that_cannot_be_said_is_null() -> None:
    half, none = Interval(value=0.5, low=0.25, high=0.75), Interval(value=math.nan, low=math.nan, high=math.nan)
    by_label = {"a": dict.fromkeys([*LABEL_METRICS, "accuracy"], half), "b": dict.fromkeys([*LABEL_METRICS, "accuracy"], none)}
    summary = Summary(by_label=by_label, average=dict.fromkeys([*AVERAGE_METRICS, "macro_accuracy"], half))
    document = labeler_json({"rules": (summary, 7)}, reports=10)
    assert json.loads(json.dumps(document)) == document
    assert (document["schema"], document["notice"]) == (SCHEMA, RESEARCH_USE)
    rules = document["backends"]["rules"]
    assert (rules["reports"], rules["unknown"]) == (7, 3)
    assert rules["labels"]["a"] == {name: {"value": 0.5, "low": 0.25, "high": 0.75} for name in LABEL_METRICS}
    assert rules["labels"]["b"]["f1"] == {"value": None, "low": None, "high": None}
    assert set(rules) == {"reports", "unknown", "labels", *AVERAGE_METRICS}

"""Write how well backends label reports as a JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from thoracle.evaluation.detection.summary import Summary
from thoracle.evaluation.html.plain_json import plain_json
from thoracle.types import RESEARCH_USE

#: A change that breaks readers of the JSON takes the next number.
SCHEMA: Final = "thoracle.labeler/1"
#: The metrics of each abnormality, and those of all together.
LABEL_METRICS: Final = ("precision", "recall", "f1")
AVERAGE_METRICS: Final = ("macro_precision", "macro_recall", "macro_f1", "f1_micro", "f1_weighted")


def labeler_json(backends: Mapping[str, tuple[Summary, int]], *, reports: int) -> dict[str, Any]:
    """Build the document of a comparison.

    Args:
        backends: each backend's metrics, and how many reports it labelled.
        reports: in the table.

    Returns:
        Plain JSON types, null for NaN.
    """
    metrics = {
        name: {"reports": labelled, "unknown": reports - labelled, **_metrics(summary)} for name, (summary, labelled) in backends.items()
    }
    return {"schema": SCHEMA, "notice": RESEARCH_USE, "backends": plain_json(metrics)}


def _metrics(summary: Summary) -> dict[str, object]:
    labels = {label: {name: asdict(metrics[name]) for name in LABEL_METRICS} for label, metrics in summary.by_label.items()}
    return {"labels": labels, **{name: asdict(summary.average[name]) for name in AVERAGE_METRICS}}

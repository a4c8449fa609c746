"""Compare models that learnt from reports with one that learnt from labels alone, as parts of the demo's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from thoracle.evaluation.demo.page import CONTRASTIVE, LIPRO, SUPERVISED, TUNED, bounds
from thoracle.evaluation.detection.compare import compare
from thoracle.evaluation.detection.results_json import EvaluationRun
from thoracle.evaluation.detection.summary import summarise
from thoracle.evaluation.html.page import heading, paragraph, table
from thoracle.metrics.bootstrap import Comparison, Interval

#: Averages of which CT-CLIP claims to be ahead of supervised models.
METRICS: Final[Mapping[str, str]] = {
    "macro_auroc": "AUROC",
    "macro_f1": "F1",
    "macro_accuracy": "accuracy",
    "macro_precision": "precision",
}


@dataclass(frozen=True, kw_only=True)
class Opponents:
    """Hold averages over abnormalities of models on the same scans.

    Attributes:
        values: by model and metric.
        differences: of each model but the supervised one, minus that one's, over the same draws of patients.
    """

    values: Mapping[str, Mapping[str, Interval]]
    differences: Mapping[str, Mapping[str, Comparison]]


def compare_opponents(runs: Mapping[str, EvaluationRun]) -> Opponents:
    """Compare each run with that of `SUPERVISED`, which is among them.

    Raises:
        InputError: they are of other scans or labels.
    """
    supervised = runs[SUPERVISED]
    return Opponents(
        values={name: summarise(run.scores, thresholds=run.thresholds_NK).average for name, run in runs.items()},
        differences={name: compare(run, supervised).average for name, run in runs.items() if name != SUPERVISED},
    )


def sentences(opponents: Opponents) -> list[str]:
    """Say of each model by how much it is ahead of the supervised one, or behind."""
    return [
        f"{name} less supervised: {', '.join(f'{title} {_signed(differences[metric])}' for metric, title in METRICS.items())}."
        for name, differences in opponents.differences.items()
    ]


def section(opponents: Opponents, *, volumes: Mapping[str, int]) -> list[str]:
    """Build the parts of the demo's page; `volumes` says how many each model's own training saw, repeats counted."""
    budgets = {
        CONTRASTIVE: f"{volumes[CONTRASTIVE]:,} volumes with reports",
        TUNED: f"these, and {volumes[TUNED]:,} volumes with labels",
        LIPRO: f"zero-shot's latents of {volumes[LIPRO]:,} volumes with labels",
        SUPERVISED: f"{volumes[SUPERVISED]:,} volumes with labels",
    }
    rows: list[Sequence[object]] = []
    for name, values in opponents.values.items():
        rows.append([name, budgets[name], *(bounds(values[metric]) for metric in METRICS)])
        if differences := opponents.differences.get(name):
            rows.append(["", "less supervised", *(_signed(differences[metric]) for metric in METRICS)])
    return [
        heading("Beside a supervised model"),
        paragraph(
            "The supervised model has the same encoder, scans and labels, begins with random weights and reads no report. Figures are means"
            " over abnormalities; F1, accuracy and precision are of decisions at thresholds of split dev. Differences are over the same"
            " draws of patients."
        ),
        table(["", "has learnt from", *METRICS.values()], rows),
    ]


def _signed(difference: Comparison) -> str:
    return f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"

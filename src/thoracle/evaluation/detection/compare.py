"""Compare two runs on the same scans by paired differences with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from thoracle.errors import InputError
from thoracle.evaluation.detection.results_json import EvaluationRun
from thoracle.evaluation.detection.summary import Scores, draw, measure
from thoracle.metrics.bootstrap import RESAMPLES, Comparison, delong_difference, paired_difference

_MOST_NAMED = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Differences:
    """Hold differences, first minus second.

    Attributes:
        average: of macro and pooled metrics, by bootstrap.
        by_label: of each label's metrics, by bootstrap.
        delong: of each label's AUROC, by DeLong's test.
        scans, patients: how many.
    """

    average: Mapping[str, Comparison]
    by_label: Mapping[str, Mapping[str, Comparison]]
    delong: Mapping[str, Comparison]
    scans: int
    patients: int


def compare(first: EvaluationRun, second: EvaluationRun, *, resamples: int = RESAMPLES, seed: int = 0) -> Differences:
    """Compare every metric that both runs have, by the same bootstrap draws of patients.

    Raises:
        InputError: other scans, labels or patients; the first few are named.
    """
    second = _aligned(first.scores, second)
    first_scores, second_scores = first.scores, second.scores
    decided = first.thresholds_NK is not None and second.thresholds_NK is not None
    thresholds = [run.thresholds_NK if decided else None for run in (first, second)]
    pairs = list(zip((first_scores, second_scores), thresholds, strict=True))
    values = [measure(scores, thresholds=cutoffs) for scores, cutoffs in pairs]
    draws = [draw(scores, thresholds=cutoffs, resamples=resamples, seed=seed) for scores, cutoffs in pairs]
    differences = {name: paired_difference(values[0][name], values[1][name], draws[0][name], draws[1][name]) for name in values[0]}
    vectors = [name for name, value in values[0].items() if value.ndim]
    return Differences(
        average={name: difference[0] for name, difference in differences.items() if name not in vectors},
        by_label={label: {name: differences[name][k] for name in vectors} for k, label in enumerate(first_scores.labels)},
        delong={
            label: delong_difference(
                first_scores.probabilities_NK[:, k],
                second_scores.probabilities_NK[:, k],
                first_scores.truth_NK[:, k],
                patients=first_scores.patients,
            )
            for k, label in enumerate(first_scores.labels)
        },
        scans=len(first_scores.names),
        patients=len(set(first_scores.patients)),
    )


def _aligned(reference: Scores, run: EvaluationRun) -> EvaluationRun:
    """The second run with its scans and labels in the order of the first's."""
    scores = run.scores
    if set(reference.labels) != set(scores.labels):
        raise InputError(f"the runs have other labels: {_named(set(reference.labels) ^ set(scores.labels))}", hint="Score both alike.")
    if set(reference.names) != set(scores.names):
        mismatched = set(reference.names) ^ set(scores.names)
        raise InputError(f"{len(mismatched):,} scans are in one run only: {_named(mismatched)}", hint="Score both on the same scans.")
    positions = {name: row for row, name in enumerate(scores.names)}
    rows, columns = [positions[name] for name in reference.names], [scores.labels.index(label) for label in reference.labels]
    truth = scores.truth_NK[rows][:, columns]
    unlike_rows = ~((truth == reference.truth_NK) | (np.isnan(truth) & np.isnan(reference.truth_NK))).all(axis=1)
    if unlike_rows.any() or tuple(scores.patients[row] for row in rows) != reference.patients:
        named = [reference.names[row] for row in np.flatnonzero(unlike_rows)] or ["patients"]
        raise InputError(f"the runs have other labels or patients of the same scans: {_named(named)}", hint="Score both by the same table.")
    aligned = replace(reference, probabilities_NK=scores.probabilities_NK[rows][:, columns])
    return replace(run, scores=aligned, thresholds_NK=None if run.thresholds_NK is None else run.thresholds_NK[rows][:, columns])


def _named(names: set[str] | list[str]) -> str:
    shown = sorted(names)[:_MOST_NAMED]
    return ", ".join(shown) + (f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else "")

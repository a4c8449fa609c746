"""Two runs on the same scans: paired differences with intervals; reads no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from thoracle.errors import InputError
from thoracle.evaluation.detection.results_json import Run
from thoracle.evaluation.detection.summary import Scores, draw, measure
from thoracle.metrics.bootstrap import RESAMPLES, Comparison, delong_difference, paired_difference

_MOST_NAMED = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Differences:
    """First minus second.

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


def compare(first: Run, second: Run, *, resamples: int = RESAMPLES, seed: int = 0) -> Differences:
    """Every metric that both runs have, by the same draws of patients.

    Raises:
        InputError: other scans, labels or patients; the first few are named.
    """
    second = _aligned(first.scores, second)
    one, other = first.scores, second.scores
    decided = first.thresholds_NK is not None and second.thresholds_NK is not None
    thresholds = [run.thresholds_NK if decided else None for run in (first, second)]
    pairs = list(zip((one, other), thresholds, strict=True))
    values = [measure(scores, thresholds=given) for scores, given in pairs]
    draws = [draw(scores, thresholds=given, resamples=resamples, seed=seed) for scores, given in pairs]
    found = {name: paired_difference(values[0][name], values[1][name], draws[0][name], draws[1][name]) for name in values[0]}
    each = [name for name, value in values[0].items() if value.ndim]
    return Differences(
        average={name: one[0] for name, one in found.items() if name not in each},
        by_label={label: {name: found[name][k] for name in each} for k, label in enumerate(one.labels)},
        delong={
            label: delong_difference(one.probabilities_NK[:, k], other.probabilities_NK[:, k], one.truth_NK[:, k], patients=one.patients)
            for k, label in enumerate(one.labels)
        },
        scans=len(one.names),
        patients=len(set(one.patients)),
    )


def _aligned(one: Scores, run: Run) -> Run:
    """The second run with its scans and labels in the order of the first's."""
    other = run.scores
    if set(one.labels) != set(other.labels):
        raise InputError(f"the runs have other labels: {_named(set(one.labels) ^ set(other.labels))}", hint="Score both alike.")
    if set(one.names) != set(other.names):
        unlike = set(one.names) ^ set(other.names)
        raise InputError(f"{len(unlike):,} scans are in one run only: {_named(unlike)}", hint="Score both on the same scans.")
    places = {name: row for row, name in enumerate(other.names)}
    rows, columns = [places[name] for name in one.names], [other.labels.index(label) for label in one.labels]
    truth = other.truth_NK[rows][:, columns]
    unlike_rows = ~((truth == one.truth_NK) | (np.isnan(truth) & np.isnan(one.truth_NK))).all(axis=1)
    if unlike_rows.any() or tuple(other.patients[row] for row in rows) != one.patients:
        named = [one.names[row] for row in np.flatnonzero(unlike_rows)] or ["patients"]
        raise InputError(f"the runs have other labels or patients of the same scans: {_named(named)}", hint="Score both by the same table.")
    aligned = replace(one, probabilities_NK=other.probabilities_NK[rows][:, columns])
    return replace(run, scores=aligned, thresholds_NK=None if run.thresholds_NK is None else run.thresholds_NK[rows][:, columns])


def _named(names: set[str] | list[str]) -> str:
    shown = sorted(names)[:_MOST_NAMED]
    return ", ".join(shown) + (f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else "")

"""Compute all metrics of one set of scored scans, with intervals over patients.

Knows arrays and labels' names, no file and no model.

Shapes: N scans, K labels, R draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thoracle.metrics import classification
from thoracle.metrics.bootstrap import RESAMPLES, Interval, patient_weights, percentile_interval
from thoracle.types import FloatArray

#: Of each label; the mean over labels with both answers is the macro average.
RANKING: Final = ("auroc", "average_precision", "sensitivity_at_90_specificity")
PROBABILITY: Final = ("brier", "calibration_error")
DECISION: Final = ("accuracy", "precision", "recall", "specificity", "f1")
POOLED: Final = ("f1_micro", "f1_weighted")

Values = Mapping[str, FloatArray]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Hold scans with a model's scores and their labels.

    Attributes:
        names: of the scans.
        patients: whose they are.
        labels: names of the K columns.
        probabilities_NK: what the model said.
        truth_NK: 1, 0, and NaN where nobody says.
    """

    names: tuple[str, ...]
    patients: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities_NK: FloatArray
    truth_NK: FloatArray

    def of(self, keep: NDArray[np.bool_]) -> Scores:
        """Return the scans for which `keep` holds."""
        rows = np.flatnonzero(keep)
        return replace(
            self,
            names=tuple(self.names[row] for row in rows),
            patients=tuple(self.patients[row] for row in rows),
            probabilities_NK=self.probabilities_NK[rows],
            truth_NK=self.truth_NK[rows],
        )

    @property
    def single_class_labels(self) -> tuple[str, ...]:
        """List labels that no scan has, or all have: nothing that ranks or decides can be measured in them."""
        positive, negative = (self.truth_NK == 1).any(axis=0), (self.truth_NK == 0).any(axis=0)
        return tuple(name for name, both in zip(self.labels, positive & negative, strict=True) if not both)


@dataclass(frozen=True, kw_only=True, eq=False)
class Summary:
    """Hold metrics with intervals: of each label, and `macro` and pooled ones of all."""

    by_label: Mapping[str, Mapping[str, Interval]]
    average: Mapping[str, Interval]


def measure(scores: Scores, *, thresholds: FloatArray | None, ranking: bool = True, weights_RN: FloatArray | None = None) -> Values:
    """Compute every metric: (R, K) per label, (R,) over all labels; without weights (K,) and ().

    Args:
        scores: what is measured.
        thresholds: (K,) or (N, K); metrics of decisions are left out without.
        ranking: whether probabilities of different scans may be ranked; not where each fold has a calibration of its own.
        weights_RN: how often each scan counts in each draw.
    """
    probabilities, truth = scores.probabilities_NK, scores.truth_NK
    draws: dict[str, FloatArray] = {}
    if ranking:
        draws |= {
            "auroc": classification.auroc(probabilities, truth, weights_RN=weights_RN),
            "average_precision": classification.average_precision(probabilities, truth, weights_RN=weights_RN),
            "sensitivity_at_90_specificity": classification.sensitivity_at_specificity(probabilities, truth, weights_RN=weights_RN),
        }
    draws |= {
        "brier": classification.brier(probabilities, truth, weights_RN=weights_RN),
        "calibration_error": classification.calibration_error(probabilities, truth, weights_RN=weights_RN),
    }
    if thresholds is not None:
        counts = classification.confusion(probabilities, truth, thresholds=thresholds, weights_RN=weights_RN)
        draws |= {name: getattr(counts, name) for name in (*DECISION, *POOLED)}
    return draws | {f"macro_{name}": mean_of_known(values) for name, values in draws.items() if name not in POOLED}


def draw(scores: Scores, *, thresholds: FloatArray | None, ranking: bool = True, resamples: int = RESAMPLES, seed: int = 0) -> Values:
    """Compute `measure` of bootstrap draws of patients."""
    blocks = [
        measure(scores, thresholds=thresholds, ranking=ranking, weights_RN=weights)
        for weights in patient_weights(scores.patients, resamples=resamples, seed=seed)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def summarise(scores: Scores, *, thresholds: FloatArray | None, ranking: bool = True, resamples: int = RESAMPLES, seed: int = 0) -> Summary:
    """Compute every metric with its interval. The calibration error has none: each draw repeats scans, which raises it."""
    values = measure(scores, thresholds=thresholds, ranking=ranking)
    draws = draw(scores, thresholds=thresholds, ranking=ranking, resamples=resamples, seed=seed)
    intervals = {
        name: percentile_interval(value, draws[name] * (np.nan if "calibration_error" in name else 1)) for name, value in values.items()
    }
    vectors = [name for name, value in values.items() if value.ndim]
    return Summary(
        by_label={label: {name: intervals[name][k] for name in vectors} for k, label in enumerate(scores.labels)},
        average={name: interval[0] for name, interval in intervals.items() if name not in vectors},
    )


def mean_of_known(values: FloatArray) -> FloatArray:
    """Average over the last axis, without NaN; NaN where there is nothing else."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=-1)
    return np.where(count > 0, np.where(defined, values, 0.0).sum(axis=-1) / np.maximum(count, 1), np.nan)

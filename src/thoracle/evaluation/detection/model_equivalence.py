"""Compare the answers of a smaller or translated model with the original's, on the scans of a cohort.

Shapes: N scans, K labels, R draws.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from thoracle.cohort.manifest import Cohort, CohortEntry
from thoracle.evaluation.detection.summary import mean_of_known
from thoracle.evaluation.predict import prefetch_volumes
from thoracle.inference.prepare import PreparedVolume
from thoracle.metrics.bootstrap import RESAMPLES, Comparison, bootstrap, paired_difference
from thoracle.metrics.classification import auroc
from thoracle.types import FloatArray

#: Probabilities of a preprocessed volume, or its latent; a model of regions needs its box of the chest.
Detect = Callable[[PreparedVolume], tuple[float, ...]]


@dataclass(kw_only=True, eq=False)
class Answers:
    """Hold probabilities, or latents, of two models for the same scans, in order, and the seconds they took; lists grow scan by scan."""

    before: list[tuple[float, ...]] = field(default_factory=list)
    after: list[tuple[float, ...]] = field(default_factory=list)
    before_s: list[float] = field(default_factory=list)
    after_s: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class EquivalenceReport:
    """Hold what the second model changes.

    Attributes:
        before, after: AUROC, the mean over labels.
        change: after minus before, by draws of the same patients.
        largest, mean: absolute change of a probability.
        label, fall: the label whose AUROC falls most, and by how much.
        seconds: of a scan, before and after: the median.
    """

    before: float
    after: float
    change: Comparison
    largest: float
    mean: float
    label: str
    fall: float
    seconds: tuple[float, float]


def run_both(before: Detect, after: Detect, cohort: Cohort, entries: Sequence[CohortEntry], answers: Answers) -> Iterator[str]:
    """Fill `answers`, and yield the name of each volume."""
    for entry, volume in prefetch_volumes(cohort, entries):
        prepared = PreparedVolume(array=volume, provenance=None, warnings=(), box=entry.box)
        for detect, rows, seconds in ((before, answers.before, answers.before_s), (after, answers.after, answers.after_s)):
            start = time.perf_counter()
            rows.append(detect(prepared))
            seconds.append(time.perf_counter() - start)
        yield entry.volume


def compare_answers(
    answers: Answers, truth_NK: FloatArray, *, patients: Sequence[str], labels: Sequence[str], resamples: int = RESAMPLES
) -> EquivalenceReport:
    """Compare the answers; NaN where no label has both answers."""
    both = [np.array(rows, dtype=np.float64) for rows in (answers.before, answers.after)]
    aurocs = [auroc(probabilities_NK, truth_NK) for probabilities_NK in both]
    means = [mean_of_known(label_aurocs) for label_aurocs in aurocs]
    draws = bootstrap(lambda weights: _means(both, truth_NK, weights), patients, resamples=resamples)
    falls = np.nan_to_num(aurocs[0] - aurocs[1], nan=-np.inf)
    worst, moved = int(falls.argmax()), np.abs(both[1] - both[0])
    return EquivalenceReport(
        before=float(means[0]),
        after=float(means[1]),
        change=paired_difference(means[1], means[0], draws[:, 1], draws[:, 0])[0],
        largest=float(moved.max()),
        mean=float(moved.mean()),
        label=labels[worst],
        fall=float(aurocs[0][worst] - aurocs[1][worst]),
        seconds=(float(np.median(answers.before_s)), float(np.median(answers.after_s))),
    )


def worst_cosine(answers: Answers) -> float:
    """Return the cosine of the two latents of the scan where they are least alike."""
    before_NL, after_NL = (np.array(rows, dtype=np.float64) for rows in (answers.before, answers.after))
    return float((before_NL * after_NL).sum(axis=1).min())


def _means(both: Sequence[FloatArray], truth_NK: FloatArray, weights_RN: FloatArray) -> FloatArray:
    """(R, 2) AUROC over labels."""
    return np.stack([mean_of_known(auroc(probabilities_NK, truth_NK, weights_RN=weights_RN)) for probabilities_NK in both], axis=1)

"""Write an evaluation as a page: tables, ROC, precision-recall and calibration curves, the worst mistakes.

Shapes: N scans, K labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from thoracle.evaluation.detection.evaluate import Evaluation
from thoracle.evaluation.detection.summary import DECISION, POOLED, PROBABILITY, RANKING, Scores
from thoracle.evaluation.html.page import figure, heading, page, paragraph, shown, side_by_side, table, terms, with_bounds
from thoracle.evaluation.html.plots import Line, Panel, dots, panels, slices
from thoracle.metrics.bootstrap import Interval
from thoracle.metrics.classification import bin_of, curve

#: Metrics as a reader knows them.
TITLES: Final[Mapping[str, str]] = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "sensitivity_at_90_specificity": "sensitivity at 90% specificity",
    "brier": "Brier score",
    "calibration_error": "calibration error",
    "f1": "F1",
    "f1_micro": "micro F1",
    "f1_weighted": "weighted F1",
}
MISTAKES: Final = 6
_BINS: Final = 10
#: Scans of a bin, of which fewer are no share: one scan would draw a dot at nothing or at all.
_LEAST_IN_BIN: Final = 5

#: Gives HU (z, x, y) of a scan by its name; None where there is none to show.
Look = Callable[[str], NDArray[Any] | None]


@dataclass(frozen=True, kw_only=True)
class Misclassification:
    """Hold a scan whose probability contradicts its label."""

    name: str
    label: str
    probability: float
    present: bool


def write_report(evaluation: Evaluation, *, model: Mapping[str, Any], look: Look | None = None) -> bytes:
    """Write the page. `model` is as in the JSON; `look` returns the volume of a scan to show."""
    warning = [] if model.get("trained", True) else [paragraph("UNTRAINED WEIGHTS: no figure on this page means anything.")]
    warning += [paragraph(model["caution"])] if model.get("caution") else []
    aurocs = [values["auroc"] for values in evaluation.summary.by_label.values()]
    parts = [
        *warning,
        paragraph(evaluation.protocol.about),
        paragraph(
            f"Scored: {evaluation.volumes:,} volumes of {evaluation.scans:,} scans of {evaluation.patients:,} patients,"
            f" one row a {evaluation.plan.level}."
            f" Thresholds and calibration come from {evaluation.tuned_on}. Intervals: 95%, {evaluation.plan.resamples:,} draws of patients."
        ),
        *(paragraph(note) for note in evaluation.notes),
        heading("All labels together"),
        _averages(evaluation),
        heading("Each label"),
        _labels(evaluation),
        figure(
            dots(list(evaluation.scored.labels), {"AUROC": aurocs}, x="AUROC", reference=0.5),
            caption="AUROC with 95% intervals over patients; the dashed line is chance.",
        ),
        *_decisions(evaluation),
        heading("Labels together"),
        *map(paragraph, cooccurrence_sentences(evaluation)),
        heading("ROC"),
        figure(panels([_roc(evaluation.scored, k) for k in range(len(evaluation.scored.labels))])),
        heading("Precision and recall"),
        figure(panels([_precision_recall(evaluation.scored, k) for k in range(len(evaluation.scored.labels))])),
        heading("Calibration"),
        figure(
            panels([_calibration(evaluation, k) for k in range(len(evaluation.scored.labels))]),
            caption=f"{_BINS} equal bins of probability; those of fewer than {_LEAST_IN_BIN} scans are left out.",
        ),
        heading("As published by CT-CLIP, for comparison with papers alone"),
        _published(evaluation),
        *_mistakes(evaluation, look),
        *map(paragraph, terms(model)),
    ]
    return page(f"Detection, protocol {evaluation.protocol.name}", parts)


def most_confident_errors(scores: Scores, *, most: int = MISTAKES) -> tuple[list[Misclassification], list[Misclassification]]:
    """List the most confident false positives and false negatives, at most one of each scan."""
    errors: tuple[list[Misclassification], list[Misclassification]] = ([], [])
    for kind, present in zip(errors, (False, True), strict=True):
        wrong = np.where(scores.truth_NK == present, np.abs(scores.probabilities_NK - present), -1.0)
        rows: set[int] = set()
        for flat in np.argsort(-wrong, axis=None):
            row, column = divmod(int(flat), len(scores.labels))
            if len(kind) == most or wrong[row, column] <= 0.5:  # even odds contradict nothing
                break
            if row not in rows:
                rows.add(row)
                probability = float(scores.probabilities_NK[row, column])
                kind.append(
                    Misclassification(name=scores.names[row], label=scores.labels[column], probability=probability, present=present)
                )
    return errors


def cooccurrence_sentences(evaluation: Evaluation) -> list[str]:
    """Say how probabilities go together beside labels and, where labels were calibrated together, what that gives."""
    agreement = evaluation.cooccurrence
    if agreement.labels != agreement.labels:
        return ["No two labels vary together: nothing can be said of how they go with each other."]
    sentences = [
        f"Probabilities of two labels correlate by {agreement.probabilities:.2f} (mean |r| over pairs), the labels themselves by"
        f" {agreement.labels:.2f}; which pairs go together agrees by {shown(agreement.pattern)} (r over pairs)."
    ]
    if gains := evaluation.joint_gain:
        values = ", ".join(f"{title(name)} {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})" for name, gain in gains.items())
        sentences.append(f"Calibrated together less each by itself, both fitted to {evaluation.tuned_on}: {values}.")
    return sentences


def title(metric: str) -> str:
    """Return the title of a metric, or of its macro average."""
    name = metric.removeprefix("macro_")
    return ("macro " if metric != name else "") + TITLES.get(name, name)


def _bounds(interval: Interval) -> str:
    return with_bounds(interval.value, interval.low, interval.high)


def _averages(evaluation: Evaluation) -> str:
    names = [name for name in (*(f"macro_{m}" for m in (*RANKING, *PROBABILITY, *DECISION)), *POOLED) if name in evaluation.summary.average]
    columns = ["", "model's own", *(["calibrated"] if evaluation.calibrated else [])]
    rows = []
    for name in names:
        calibrated = (
            []
            if evaluation.calibrated is None
            else [_bounds(evaluation.calibrated.average[name]) if name in evaluation.calibrated.average else ""]
        )
        rows.append([title(name), _bounds(evaluation.summary.average[name]), *calibrated])
    return table(columns, rows)


def _labels(evaluation: Evaluation) -> str:
    columns = ["", "present", "absent", *(title(name) for name in RANKING), "AUROC, DeLong", *(title(name) for name in PROBABILITY)]
    columns += [f"{title(name)}, calibrated" for name in PROBABILITY] if evaluation.calibrated else []
    rows = []
    for k, label in enumerate(evaluation.scored.labels):
        truth, values = evaluation.scored.truth_NK[:, k], evaluation.summary.by_label[label]
        row: list[object] = [label, int((truth == 1).sum()), int((truth == 0).sum())]
        row += (
            [_bounds(values[name]) for name in RANKING] + [_bounds(evaluation.delong[label])] + [values[name].value for name in PROBABILITY]
        )
        row += [evaluation.calibrated.by_label[label][name].value for name in PROBABILITY] if evaluation.calibrated else []
        rows.append(row)
    return table(columns, rows)


def _decisions(evaluation: Evaluation) -> list[str]:
    """At thresholds, and by verdicts; nothing where there are none."""
    if evaluation.thresholds_NK is None:
        return []
    rows = []
    for k, label in enumerate(evaluation.scored.labels):
        values, coverage = evaluation.summary.by_label[label], evaluation.coverages.get(label)
        shares = [coverage.present_kept, coverage.absent_kept, coverage.cannot_tell] if coverage else [float("nan")] * 3
        cutoffs = evaluation.thresholds_NK[~np.isnan(evaluation.thresholds_NK[:, k]), k]
        threshold = float(np.median(cutoffs)) if len(cutoffs) else float("nan")
        rows.append([label, threshold, *(_bounds(values[name]) for name in DECISION), *shares])
    columns = ["", "threshold", *(title(name) for name in DECISION), "present, not ruled out", "absent, not ruled out", "cannot tell"]
    words = (
        f"Thresholds have the highest sensitivity + specificity on {evaluation.tuned_on}; where there are several, the median is shown."
        f" Verdicts are conformal: of scans with a finding, and of those without, at least {evaluation.plan.coverage:.0%} are meant to"
        " keep the right answer."
    )
    return [heading("Decisions"), paragraph(words), table(columns, rows)]


def _published(evaluation: Evaluation) -> str:
    counts = evaluation.published.counts
    rows: list[list[object]] = [
        [label, *(float(v[k]) for v in (evaluation.published.thresholds_K, counts.f1_of_both_answers, counts.accuracy, counts.precision))]
        for k, label in enumerate(evaluation.scored.labels)
    ]
    means = [float(np.nanmean([row[n] for row in rows])) if any(row[n] == row[n] for row in rows) else float("nan") for n in range(2, 5)]
    words = "Thresholds were chosen on the labels that are scored here; F1 is the mean of F1 of present and of absent by their frequency."
    columns = ["", "threshold", "F1 of both answers, weighted", "accuracy", "precision"]
    return paragraph(words) + table(columns, [*rows, ["mean", "", *means]])


def _roc(scores: Scores, k: int) -> Panel:
    lines = []
    if scores.labels[k] not in scores.single_class_labels:
        roc = curve(scores.probabilities_NK[:, k], scores.truth_NK[:, k])
        hits, alarms = (np.append(0, values[0] / values[0, -1]) for values in (roc.true_positives_RG, roc.false_positives_RG))
        lines = [Line(x=alarms, y=hits)]
    return Panel(title=scores.labels[k], lines=lines, x="1 - specificity", y="sensitivity", unit=True, diagonal=True)


def _precision_recall(scores: Scores, k: int) -> Panel:
    lines = []
    if scores.labels[k] not in scores.single_class_labels:
        roc = curve(scores.probabilities_NK[:, k], scores.truth_NK[:, k])
        hits, alarms = roc.true_positives_RG[0], roc.false_positives_RG[0]
        prevalence = hits[-1] / (hits[-1] + alarms[-1])
        lines = [Line(x=hits / hits[-1], y=hits / (hits + alarms)), Line(x=[0, 1], y=[prevalence, prevalence], style=":")]
    return Panel(title=scores.labels[k], lines=lines, x="recall", y="precision", unit=True)


def _calibration(evaluation: Evaluation, k: int) -> Panel:
    lines = []
    for scores, label in ((evaluation.scored, "own"), (evaluation.mended, "calibrated")):
        if scores is not None:
            labelled = ~np.isnan(scores.truth_NK[:, k])
            probabilities, truth = scores.probabilities_NK[labelled, k], scores.truth_NK[labelled, k]
            bins = bin_of(probabilities, _BINS)
            there = np.flatnonzero(np.bincount(bins, minlength=_BINS) >= _LEAST_IN_BIN)
            x, y = ([float(values[bins == bin_index].mean()) for bin_index in there] for values in (probabilities, truth))
            lines.append(Line(x=x, y=y, label=label, marker="o"))
    return Panel(title=evaluation.scored.labels[k], lines=lines, x="probability", y="share present", unit=True, diagonal=True)


def _mistakes(evaluation: Evaluation, look: Look | None) -> list[str]:
    scores = evaluation.mended or evaluation.scored
    alarms, misses = most_confident_errors(scores)
    parts = [heading("Worst mistakes"), paragraph("Slices go through the middle of the scan, which need not be where the finding is.")]
    for words, kind in (("Said to be present, labelled absent", alarms), ("Said to be absent, labelled present", misses)):
        parts.append(paragraph(f"{words}:" if kind else f"{words}: none that is surer than even."))
        parts.append(side_by_side([_shown(mistake, look) for mistake in kind]))
    return parts


def _shown(mistake: Misclassification, look: Look | None) -> str:
    caption = f"{mistake.label}: probability {shown(mistake.probability)}; {mistake.name}"
    hu = look(mistake.name) if look is not None else None
    return paragraph(caption) if hu is None else figure(slices(hu, zoom=max(1.0, 140 / hu.shape[1])), caption=caption, width=420)


def rows_of_average(values: Mapping[str, Interval]) -> Sequence[tuple[str, str]]:
    """Format macro and pooled metrics for a terminal."""
    return [(title(name), _bounds(interval)) for name, interval in values.items()]

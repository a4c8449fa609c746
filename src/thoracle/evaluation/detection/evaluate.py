"""Score detection by a protocol, with other patients' thresholds and calibration, and intervals; the published way stands beside.

Knows arrays and names; reads no file and runs no model.

Shapes: N scans, K labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

import numpy as np

from thoracle.errors import InputError
from thoracle.evaluation.detection import fit_calibration as fitting
from thoracle.evaluation.detection import thresholds as choosing
from thoracle.evaluation.detection.cases import LabelledCases, LabelTable, by_scan, join
from thoracle.evaluation.detection.fit_calibration import COVERAGE, Coverage, Method, coverages
from thoracle.evaluation.detection.protocols import Level, Protocol, Tuning
from thoracle.evaluation.detection.summary import Scores, Summary, draw, measure, summarise
from thoracle.inference.calibration import Calibration
from thoracle.metrics.bootstrap import RESAMPLES, Comparison, Interval, delong, paired_difference
from thoracle.metrics.classification import Confusion
from thoracle.metrics.cooccurrence import CooccurrenceAgreement, cooccurrence_agreement
from thoracle.types import FloatArray

#: Parts of the patients that are scored in turns, by thresholds of the other parts.
FOLDS: Final = 5


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """Hold evaluation options beside the protocol.

    Attributes:
        level: a row of figures is a volume, or the mean over a scan's volumes.
        threshold_source: in place of the protocol's; a split, or "folds".
        method: of calibration.
        coverage: of verdicts.
        resamples, seed: of the bootstrap.
    """

    level: Level = "volume"
    threshold_source: Tuning | None = None
    method: Method = "platt"
    coverage: float = COVERAGE
    resamples: int = RESAMPLES
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class PublishedScores:
    """Hold scores the way CT-CLIP published them: with thresholds fitted to the scored labels."""

    thresholds_K: FloatArray
    counts: Confusion


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Hold the metrics of one protocol.

    Attributes:
        protocol, plan: what was done.
        scored: the scans, with the model's own probabilities.
        patients, scans, volumes: how many were scored.
        tuned_on: in words, where thresholds and calibration came from.
        thresholds_NK: each scan's; NaN where the patients they come from have one answer only. None in the legacy protocol.
        summary: of the model's own probabilities.
        calibrated: Brier score and calibration error of the mended ones, and what ranks where labels are calibrated together; None in the
            legacy protocol.
        mended: scans with mended probabilities.
        cooccurrence: how the model's own probabilities go together over scans, beside labels.
        joint_gain: of macro averages, labels calibrated together minus each by itself; empty with another method.
        coverages: of verdicts, by label.
        delong: AUROC with DeLong's interval, by label.
        published: the published figures.
        calibration: fitted on volumes, whatever the level, of all patients that thresholds came from: to be kept with the model, which is
            asked about one volume at a time.
        notes: sentences on what a reader must know.
    """

    protocol: Protocol
    plan: EvaluationOptions
    scored: Scores
    patients: int
    scans: int
    volumes: int
    tuned_on: str
    thresholds_NK: FloatArray | None
    summary: Summary
    calibrated: Summary | None
    mended: Scores | None
    cooccurrence: CooccurrenceAgreement
    joint_gain: Mapping[str, Comparison]
    coverages: Mapping[str, Coverage]
    delong: Mapping[str, Interval]
    published: PublishedScores
    calibration: Calibration | None
    notes: tuple[str, ...]


def evaluate(cases: LabelledCases, predictions: LabelTable, *, protocol: Protocol, plan: EvaluationOptions | None = None) -> Evaluation:
    """Score the protocol's split.

    Args:
        cases: all that is known, of any split; where no split is known, all are scored.
        predictions: of all that are scored or tuned on.
        protocol: which split, and whose thresholds.
        plan: the rest.

    Raises:
        InputError: nothing is scored, or tables that do not fit each other; rows are named.
        SplitLeak: a patient in two splits.
    """
    plan = plan or EvaluationOptions()
    split = protocol.scored if any(cases.splits) else ""
    chosen, notes = _labelled(cases.select([name == split for name in cases.splits]), split)
    scored = _scores(chosen, predictions, plan.level)
    notes += [
        f"{name}: the scored scans have one answer only; nothing that ranks or decides can be said of it."
        for name in scored.single_class_labels
    ]
    tuning = plan.threshold_source or protocol.tuning
    if tuning is not None and not split:
        tuning = "folds"
    tuned = None if tuning is None else _tuned(scored, cases, predictions, tuning=tuning, split=split, plan=plan)
    ranking, joint_gain = plan.method == "joint" and tuning != "folds", {}
    if tuned is not None and tuning is not None and plan.method == "joint":
        alone = _tuned(scored, cases, predictions, tuning=tuning, split=split, plan=replace(plan, method="platt"))
        joint_gain = _joint_gain(tuned.mended, alone.mended, ranking=ranking, plan=plan)
    thresholds = None if tuned is None else tuned.thresholds_NK
    summary = summarise(scored, thresholds=thresholds, resamples=plan.resamples, seed=plan.seed)
    calibrated = (
        None if tuned is None else summarise(tuned.mended, thresholds=None, ranking=ranking, resamples=plan.resamples, seed=plan.seed)
    )
    published_thresholds, published_counts = choosing.published_counts(scored)
    return Evaluation(
        protocol=protocol,
        plan=plan,
        scored=scored,
        patients=len(set(chosen.patients)),
        scans=len(set(chosen.scans)),
        volumes=len(chosen.names),
        tuned_on="the scored labels themselves, as published" if tuned is None else tuned.words,
        thresholds_NK=thresholds,
        summary=summary,
        calibrated=calibrated,
        mended=None if tuned is None else tuned.mended,
        cooccurrence=cooccurrence_agreement(scored.probabilities_NK, scored.truth_NK),
        joint_gain=joint_gain,
        coverages={} if tuned is None else tuned.coverages,
        delong={
            name: delong(scored.probabilities_NK[:, k], scored.truth_NK[:, k], patients=scored.patients)
            for k, name in enumerate(scored.labels)
        },
        published=PublishedScores(thresholds_K=published_thresholds, counts=published_counts),
        calibration=None if tuned is None else tuned.calibration,
        notes=(*notes, *(() if tuned is None else tuned.notes)),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tuned:
    """Thresholds and mended probabilities of the scored scans, from labels that are not theirs."""

    words: str
    thresholds_NK: FloatArray
    mended: Scores
    coverages: Mapping[str, Coverage]
    calibration: Calibration
    notes: tuple[str, ...] = ()


def _tuned(scored: Scores, cases: LabelledCases, predictions: LabelTable, *, tuning: Tuning, split: str, plan: EvaluationOptions) -> _Tuned:
    if tuning == split:
        raise InputError(f"thresholds cannot come from {tuning}, which is scored", hint="Take another split, or folds.")
    source = split if tuning == "folds" else tuning
    chosen, _ = _labelled(cases.select([name == source for name in cases.splits]), source)
    volumes = join(chosen, predictions)
    if tuning == "folds":
        return _in_turns(scored, volumes, plan)
    tuning_scores = volumes if plan.level == "volume" else by_scan(volumes, chosen)
    words = f"split {tuning}: {len(set(chosen.patients)):,} patients, {len(tuning_scores.names):,} {plan.level}s"
    calibration = _calibration(tuning_scores, plan, words)
    mended = fitting.calibrated_scores(scored, calibration)
    notes = ("A model trained on split train is surer there than elsewhere: thresholds and calibration carry that.",)
    return _Tuned(
        words=words,
        thresholds_NK=np.broadcast_to(choosing.youden_thresholds(tuning_scores), scored.truth_NK.shape),
        mended=mended,
        coverages=coverages(fitting.verdicts(mended, calibration), mended),
        calibration=_calibration(volumes, plan, f"split {tuning}: {len(set(chosen.patients)):,} patients, {len(volumes.names):,} volumes"),
        notes=notes if tuning == "train" else (),
    )


def _in_turns(scored: Scores, volumes: Scores, plan: EvaluationOptions) -> _Tuned:
    """Each fifth of the patients by thresholds and calibration of the other four; what is kept is of the volumes of all."""
    folds = np.array([int.from_bytes(sha256(patient.encode()).digest()[:4]) % FOLDS for patient in scored.patients])
    words = f"the other patients of the scored split, in {FOLDS} turns"
    thresholds, mended = np.full(scored.truth_NK.shape, np.nan), scored.probabilities_NK.copy()
    verdicts = np.full(scored.truth_NK.shape, "", dtype="U11")
    for fold in np.unique(folds):
        held_out, others = folds == fold, scored.of(folds != fold)
        if not len(others.names):
            raise InputError("one fold holds all patients: too few for thresholds from others", hint="Give more patients.")
        calibration = _calibration(others, plan, words)
        thresholds[held_out] = choosing.youden_thresholds(others)
        part = fitting.calibrated_scores(scored.of(held_out), calibration)
        mended[held_out], verdicts[held_out] = part.probabilities_NK, fitting.verdicts(part, calibration)
    return _Tuned(
        words=words,
        thresholds_NK=thresholds,
        mended=replace(scored, probabilities_NK=mended),
        coverages=coverages(verdicts, scored),
        calibration=_calibration(volumes, plan, f"all {len(set(scored.patients)):,} patients of the scored split"),
    )


def _joint_gain(together: Scores, alone: Scores, *, ranking: bool, plan: EvaluationOptions) -> dict[str, Comparison]:
    """Differences of macro averages; without ranking where each fold has a calibration of its own."""
    both = (together, alone)
    values = [measure(scores, thresholds=None, ranking=ranking) for scores in both]
    draws = [draw(scores, thresholds=None, ranking=ranking, resamples=plan.resamples, seed=plan.seed) for scores in both]
    names = [name for name in values[0] if name.startswith("macro_") and "calibration_error" not in name]
    return {name: paired_difference(values[0][name], values[1][name], draws[0][name], draws[1][name])[0] for name in names}


def _calibration(scores: Scores, plan: EvaluationOptions, words: str) -> Calibration:
    """Of nobody's weights yet; whoever keeps it says whose."""
    return fitting.fit_calibration(scores, method=plan.method, coverage=plan.coverage, weights_sha256="", prompts=(), fitted_on=words)


def _labelled(cases: LabelledCases, split: str) -> tuple[LabelledCases, list[str]]:
    """Without volumes that nobody gave a label to."""
    labelled = cases.labelled
    where = f" in split {split}" if split else ""
    if not labelled.any():
        raise InputError(f"no volume with labels{where}", hint="Give their labels, or take thresholds from another split or from folds.")
    left_out = int((~labelled).sum())
    return cases.select(labelled), [f"{left_out:,} volumes{where} have no labels, and are left out."] if left_out else []


def _scores(cases: LabelledCases, predictions: LabelTable, level: Level) -> Scores:
    scores = join(cases, predictions)
    return by_scan(scores, cases) if level == "scan" else scores

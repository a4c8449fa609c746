"""Fit what probabilities mean, on scans other than the scored ones: temperature, Platt or all labels together, and conformal "cannot tell".

Fitted parameters and their use are `inference.calibration`'s.

Shapes: N scans, K labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from thoracle.errors import InputError
from thoracle.evaluation.detection.joint_calibration import fit_joint
from thoracle.evaluation.detection.summary import Scores
from thoracle.inference.calibration import EDGE, Calibration, LabelCalibration
from thoracle.types import FloatArray

Method = Literal["platt", "temperature", "joint"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
COVERAGE: Final = 0.9
_LEAST_SLOPE: Final = 1e-3  # the order of scans stays


def fit_calibration(
    scores: Scores, *, method: Method, coverage: float, weights_sha256: str, prompts: tuple[str, ...], fitted_on: str
) -> Calibration:
    """Fit the calibration of each label that has both answers.

    Args:
        scores: of the validation split.
        method: "platt" fits slope and offset of the logit (Platt, 1999), "temperature" the slope alone (Guo et al., arXiv:1706.04599),
            "joint" slopes of all labels' logits (`fit_joint`).
        coverage: of scans with, and of scans without the finding, the share whose verdict is not the wrong one, at least.
        weights_sha256, prompts, fitted_on: as `Calibration` has them.

    Raises:
        InputError: no label has both answers, or a coverage outside 0 to 1.
    """
    if not 0 < coverage < 1:
        raise InputError(f"coverage must lie between 0 and 1, is {coverage}", hint="Give for example 0.9.")
    first = _first_of_each(scores.patients)
    columns = [k for k, name in enumerate(scores.labels) if name not in scores.single_class_labels]
    fits = _joint_fits(scores, columns) if method == "joint" else [_single_fit(scores, k, method) for k in columns]
    mendings = {}
    for k, (slope, offset, others, mended) in zip(columns, fits, strict=True):
        chosen, truth = ~np.isnan(scores.truth_NK[:, k]) & first, scores.truth_NK[:, k] == 1
        mendings[scores.labels[k]] = LabelCalibration(
            slope=slope,
            offset=offset,
            rule_in_at=-_bound(-mended[chosen & truth], coverage),
            rule_out_at=_bound(mended[chosen & ~truth], coverage),
            others=others,
        )
    if not mendings:
        raise InputError("no label has both answers among the scans that calibration is fitted on", hint="Give more of them.")
    return Calibration(
        weights_sha256=weights_sha256, prompts=prompts, method=method, coverage=coverage, fitted_on=fitted_on, mendings=mendings
    )


def calibrated_scores(scores: Scores, calibration: Calibration) -> Scores:
    """Return scores with calibrated probabilities; labels that the calibration lacks are unchanged."""
    weights, offsets = map(np.array, calibration.weights(scores.labels))
    mended_NK = expit(logit(np.clip(scores.probabilities_NK, EDGE, 1 - EDGE)) @ weights.T + offsets)
    calibrated = np.array([name in calibration.mendings for name in scores.labels])
    return replace(scores, probabilities_NK=np.where(calibrated, mended_NK, scores.probabilities_NK))


def verdicts(mended_scores: Scores, calibration: Calibration) -> NDArray[np.str_]:
    """Return (N, K) of "present", "absent", "cannot tell"; "" where the calibration lacks the label."""
    verdicts = np.full(mended_scores.truth_NK.shape, "", dtype="U11")
    for k, name in enumerate(mended_scores.labels):
        if (calibration_k := calibration.mendings.get(name)) is not None:
            verdicts[:, k] = [calibration_k.decision(float(p)) for p in mended_scores.probabilities_NK[:, k]]
    return verdicts


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Hold how often verdicts on one label were given and right.

    Attributes:
        present_kept: of the scans with the finding, the share whose verdict is not "absent".
        absent_kept: of those without, the share whose verdict is not "present".
        cannot_tell: of all.
    """

    present_kept: float
    absent_kept: float
    cannot_tell: float


def coverages(verdicts_NK: NDArray[np.str_], scores: Scores) -> dict[str, Coverage]:
    """Measure coverage of each label that has verdicts on labelled scans."""
    metrics = {}
    for k, name in enumerate(scores.labels):
        decided = (verdicts_NK[:, k] != "") & ~np.isnan(scores.truth_NK[:, k])
        if decided.any():
            verdicts, truth = verdicts_NK[decided, k], scores.truth_NK[decided, k] == 1
            metrics[name] = Coverage(
                present_kept=float((verdicts[truth] != "absent").mean()) if truth.any() else float("nan"),
                absent_kept=float((verdicts[~truth] != "present").mean()) if not truth.all() else float("nan"),
                cannot_tell=float((verdicts == "cannot tell").mean()),
            )
    return metrics


#: Slope, offset, slopes of others, and what the fitted scans' probabilities become.
_LabelFit = tuple[float, float, dict[str, float], FloatArray]


def _single_fit(scores: Scores, k: int, method: Method) -> _LabelFit:
    labelled, probabilities = ~np.isnan(scores.truth_NK[:, k]), scores.probabilities_NK[:, k]
    slope, offset = _fit(probabilities[labelled], scores.truth_NK[labelled, k] == 1, method)
    mended: FloatArray = expit(slope * logit(np.clip(probabilities, EDGE, 1 - EDGE)) + offset)
    return slope, offset, {}, mended


def _joint_fits(scores: Scores, columns: list[int]) -> list[_LabelFit]:
    """Of the labels with both answers, by these labels' logits; probabilities are of fits to other patients."""
    part = replace(
        scores,
        labels=tuple(scores.labels[k] for k in columns),
        probabilities_NK=scores.probabilities_NK[:, columns],
        truth_NK=scores.truth_NK[:, columns],
    )
    fit = fit_joint(part)
    return [
        (
            float(fit.weights_KK[k, k]),
            float(fit.offsets_K[k]),
            {label: float(fit.weights_KK[k, j]) for j, label in enumerate(part.labels) if j != k},
            fit.held_out_NK[:, k],
        )
        for k in range(len(columns))
    ]


def _fit(probabilities: FloatArray, truth: NDArray[np.bool_], method: Method) -> tuple[float, float]:
    """Least log loss. Platt's targets are his own, a little inside 0 and 1, so that separable labels have a finite slope."""
    positive = np.count_nonzero(truth)
    negative = len(truth) - positive
    target = np.where(truth, (positive + 1) / (positive + 2), 1 / (negative + 2)) if method == "platt" else truth.astype(np.float64)
    x = logit(np.clip(probabilities, EDGE, 1 - EDGE))
    free = 2 if method == "platt" else 1

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        slope, offset = parameters[0], parameters[1] if free == 2 else 0.0
        z = slope * x + offset
        error = expit(z) - target
        gradient = np.array([(error * x).mean(), error.mean()])[:free]
        return float((np.logaddexp(0, z) - target * z).mean()), gradient

    start = np.array([1.0, 0.0])[:free]
    bounds = [(_LEAST_SLOPE, 1e3), (-1e3, 1e3)][:free]
    fit = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-9})
    return float(fit.x[0]), float(fit.x[1]) if free == 2 else 0.0


def _bound(values: FloatArray, coverage: float) -> float:
    """Where at least this share of new exchangeable values lies at or below: the k-th smallest, k = ceil((n + 1) coverage).

    With too few values for that, 1, the end of probabilities: nothing is ruled out (Vovk et al., 2005; Lei and Wasserman, 2014).
    """
    rank = int(np.ceil((len(values) + 1) * coverage - 1e-9))
    return float(np.sort(values)[rank - 1]) if rank <= len(values) else 1.0


def _first_of_each(patients: tuple[str, ...]) -> NDArray[np.bool_]:
    """One scan a patient: those of one patient are not exchangeable with those of others."""
    names: set[str] = set()
    return np.array([not (patient in names or names.add(patient)) for patient in patients])  # type: ignore[func-returns-value]

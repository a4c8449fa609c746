"""Fits what probabilities mean, on scans that are scored by nobody else: temperature or Platt, and conformal "cannot tell".

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
from thoracle.evaluation.detection.summary import Scores
from thoracle.inference.calibration import EDGE, Calibration, LabelCalibration
from thoracle.types import FloatArray

Method = Literal["platt", "temperature"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
COVERAGE: Final = 0.9
_LEAST_SLOPE: Final = 1e-3  # the order of scans stays


def fit_calibration(
    scores: Scores, *, method: Method, coverage: float, weights_sha256: str, prompts: tuple[str, ...], fitted_on: str
) -> Calibration:
    """Of each label with both answers.

    Args:
        scores: of the validation split.
        method: "platt" fits slope and offset of the logit (Platt, 1999), "temperature" the slope alone (Guo et al., arXiv:1706.04599).
        coverage: of scans with, and of scans without the finding, the share whose verdict is not the wrong one, at least.
        weights_sha256, prompts, fitted_on: as `Calibration` has them.

    Raises:
        InputError: no label has both answers, or a coverage outside 0 to 1.
    """
    if not 0 < coverage < 1:
        raise InputError(f"coverage must lie between 0 and 1, is {coverage}", hint="Give for example 0.9.")
    first = _first_of_each(scores.patients)
    mendings = {}
    for k, name in enumerate(scores.labels):
        if name not in scores.single_class_labels:
            known = ~np.isnan(scores.truth_NK[:, k])
            given, truth = scores.probabilities_NK[:, k], scores.truth_NK[:, k] == 1
            slope, offset = _fit(given[known], truth[known], method)
            mended = calibrate(given, slope, offset)
            chosen = known & first
            mendings[name] = LabelCalibration(
                slope=slope,
                offset=offset,
                rule_in_at=-_bound(-mended[chosen & truth], coverage),
                rule_out_at=_bound(mended[chosen & ~truth], coverage),
            )
    if not mendings:
        raise InputError("no label has both answers among the scans that calibration is fitted on", hint="Give more of them.")
    return Calibration(
        weights_sha256=weights_sha256, prompts=prompts, method=method, coverage=coverage, fitted_on=fitted_on, mendings=mendings
    )


def calibrate(given: FloatArray, slope: float, offset: float) -> FloatArray:
    """As `LabelCalibration.probability`, of an array."""
    mended: FloatArray = expit(slope * logit(np.clip(given, EDGE, 1 - EDGE)) + offset)
    return mended


def calibrated_scores(scores: Scores, calibration: Calibration) -> Scores:
    """With probabilities mended; labels that the calibration does not know stay as they are."""
    columns = [
        calibrate(column, one.slope, one.offset) if (one := calibration.mendings.get(name)) is not None else column
        for name, column in zip(scores.labels, scores.probabilities_NK.T, strict=True)
    ]
    return replace(scores, probabilities_NK=np.stack(columns, axis=1))


def verdicts(mended_scores: Scores, calibration: Calibration) -> NDArray[np.str_]:
    """(N, K) of "present", "absent", "cannot tell"; "" where the calibration does not know the label."""
    said = np.full(mended_scores.truth_NK.shape, "", dtype="U11")
    for k, name in enumerate(mended_scores.labels):
        if (one := calibration.mendings.get(name)) is not None:
            said[:, k] = [one.decision(float(p)) for p in mended_scores.probabilities_NK[:, k]]
    return said


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What verdicts on one label came to.

    Attributes:
        present_kept: of the scans with the finding, the share whose verdict is not "absent".
        absent_kept: of those without, the share whose verdict is not "present".
        cannot_tell: of all.
    """

    present_kept: float
    absent_kept: float
    cannot_tell: float


def coverages(verdicts_NK: NDArray[np.str_], scores: Scores) -> dict[str, Coverage]:
    """Of each label that has verdicts on scans with a known label."""
    found = {}
    for k, name in enumerate(scores.labels):
        known = (verdicts_NK[:, k] != "") & ~np.isnan(scores.truth_NK[:, k])
        if known.any():
            said, truth = verdicts_NK[known, k], scores.truth_NK[known, k] == 1
            found[name] = Coverage(
                present_kept=float((said[truth] != "absent").mean()) if truth.any() else float("nan"),
                absent_kept=float((said[~truth] != "present").mean()) if not truth.all() else float("nan"),
                cannot_tell=float((said == "cannot tell").mean()),
            )
    return found


def _fit(given: FloatArray, truth: NDArray[np.bool_], method: Method) -> tuple[float, float]:
    """Least log loss. Platt's targets are his own, a little inside 0 and 1, so that separable labels have a finite slope."""
    positive = np.count_nonzero(truth)
    negative = len(truth) - positive
    target = np.where(truth, (positive + 1) / (positive + 2), 1 / (negative + 2)) if method == "platt" else truth.astype(np.float64)
    x = logit(np.clip(given, EDGE, 1 - EDGE))
    free = 2 if method == "platt" else 1

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        slope, offset = parameters[0], parameters[1] if free == 2 else 0.0
        z = slope * x + offset
        error = expit(z) - target
        gradient = np.array([(error * x).mean(), error.mean()])[:free]
        return float((np.logaddexp(0, z) - target * z).mean()), gradient

    start = np.array([1.0, 0.0])[:free]
    bounds = [(_LEAST_SLOPE, 1e3), (-1e3, 1e3)][:free]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-9})
    return float(found.x[0]), float(found.x[1]) if free == 2 else 0.0


def _bound(values: FloatArray, coverage: float) -> float:
    """Where at least this share of new exchangeable values lies at or below: the k-th smallest, k = ceil((n + 1) coverage).

    With too few values for that, 1, the end of probabilities: nothing is ruled out (Vovk et al., 2005; Lei and Wasserman, 2014).
    """
    place = int(np.ceil((len(values) + 1) * coverage - 1e-9))
    return float(np.sort(values)[place - 1]) if place <= len(values) else 1.0


def _first_of_each(patients: tuple[str, ...]) -> NDArray[np.bool_]:
    """One scan a patient: those of one patient are not exchangeable with those of others."""
    seen: set[str] = set()
    return np.array([not (patient in seen or seen.add(patient)) for patient in patients])  # type: ignore[func-returns-value]

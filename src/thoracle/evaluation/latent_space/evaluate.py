"""Measure the latents of a cohort's scans and reports: geometry, order, hierarchy.

Shapes: N scans, K findings, L latent width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from thoracle.cohort.manifest import CohortEntry
from thoracle.evaluation.explanation.phantom_truth import require_same_phantoms
from thoracle.evaluation.latent_space.hierarchy import Hierarchy, measure_hierarchy
from thoracle.evaluation.latent_space.measures import Space, measure_latent_space
from thoracle.evaluation.latent_space.order import SEVERITIES, Order, measure_order
from thoracle.inference.model import Model
from thoracle.metrics.bootstrap import RESAMPLES
from thoracle.models.encoder import Capability
from thoracle.types import ABNORMALITIES, FloatArray

_GRADES: Final = {severity: float(grade) for grade, severity in enumerate(SEVERITIES, start=1)}


@dataclass(frozen=True, kw_only=True, eq=False)
class SpaceEvaluation:
    """Hold all that is measured of a space."""

    geometry: Space
    order: Order
    hierarchy: Hierarchy


def evaluate_space(
    image_NL: FloatArray,
    text_NL: FloatArray,
    *,
    entries: Sequence[CohortEntry],
    margins_NK: FloatArray | None = None,
    severity: Mapping[str, Mapping[str, str]] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SpaceEvaluation:
    """Measure latents of scans and their reports.

    Args:
        image_NL, text_NL: of `entries`, in their order.
        entries: one volume of each scan.
        margins_NK: as `prompt_margins` gives them.
        severity: of each finding, by volume and name.
        resamples, seed: of the draws.

    Raises:
        InputError: as `measure_latent_space`, or `severity` is of other phantoms.
    """
    truth_NK, patients = truth_of(entries), [entry.patient for entry in entries]
    draws: dict[str, Any] = {"patients": patients, "resamples": resamples, "seed": seed}
    return SpaceEvaluation(
        geometry=measure_latent_space(image_NL, text_NL, truth_NK=truth_NK, labels=ABNORMALITIES, **draws),
        order=measure_order(
            image_NL,
            truth_NK=truth_NK,
            labels=ABNORMALITIES,
            margins_NK=margins_NK,
            grades_NK=None if severity is None else _grades(entries, severity),
            **draws,
        ),
        hierarchy=measure_hierarchy(image_NL, truth_NK=truth_NK, **draws),
    )


def truth_of(entries: Sequence[CohortEntry]) -> FloatArray:
    """Return the labels of entries, (N, K): 1, 0, NaN where nobody says."""
    return np.array([[np.nan if label is None else float(label) for label in entry.labels] for entry in entries])


def prompt_margins(model: Model, image_NL: FloatArray) -> FloatArray | None:
    """Compute the cosine of each scan with the prompt that states a finding, less that with the one that denies it, (N, K).

    None for a model without prompts.
    """
    if Capability.ZERO_SHOT not in model.capabilities or model.folder.labels != ABNORMALITIES:
        return None
    prompts_2KL = model.prompt_latents().cpu().numpy().astype(np.float64)
    return np.asarray(image_NL @ (prompts_2KL[::2] - prompts_2KL[1::2]).T)


def _grades(entries: Sequence[CohortEntry], severity: Mapping[str, Mapping[str, str]]) -> FloatArray:
    """(N, K): 1 to 3, NaN where nobody says."""
    require_same_phantoms(entries, severity)
    rows = [severity.get(entry.volume, {}) for entry in entries]
    return np.array([[_GRADES.get(row.get(name, ""), np.nan) for name in ABNORMALITIES] for row in rows])

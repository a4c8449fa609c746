"""Choose what a scan shows: the field of view across, the coverage along, and where the body lies in both.

Percentiles are those of 300 real rows of CT-RATE's metadata; docs/phantom.md says what each spread rests on. Nothing here looks at a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import ndtr

from thoracle.phantom.anatomy.patient import Patient, Rng
from thoracle.phantom.anatomy.thorax import APEX, Thorax
from thoracle.phantom.presets import Preset

_PERCENTILES: Final = (2, 5, 10, 25, 50, 75, 90, 95, 98)
#: mm at those percentiles.
_WIDTHS: Final = (300, 313, 327, 350, 365, 395, 421, 452, 499)
_COVERAGES: Final = (254, 275, 289, 316, 340, 368, 383, 388, 409)
#: How width and coverage go with the person: so that men and women differ as in the rows.
_FIT: Final = 0.75
#: Height of phantoms' lungs, mean and standard deviation, mm.
_LUNG_HEIGHT: Final = (249.0, 19.5)
#: Shares of scans that end inside the lungs above and below.
_CUT_APICES, _CUT_BASES = 0.04, 0.06


@dataclass(frozen=True, kw_only=True)
class FieldOfView:
    """Hold what a scan shows, mm.

    Attributes:
        width: of the field, across and from front to back.
        coverage: along the table.
        middle: of both, from the canonical origin, along the scanner's axes.
        body: x and y of the canonical origin in the scanner's frame.
    """

    width: float
    coverage: float
    middle: tuple[float, float, float]
    body: tuple[float, float]


def sample_aligned_field(rng: Rng, patient: Patient, preset: Preset) -> FieldOfView:
    """Sample a field around the chest: all lungs alike in it, as no scanner shows them."""
    width = float(np.clip(rng.normal(0.96, 0.055), 0.84, 1.08)) * preset.matrix * preset.pixel
    slices = round(preset.slices * float(rng.uniform(0.94, 1.08)))
    middle = (patient.shift[0], patient.shift[1] + 6, float(rng.normal(-12, 4)))
    return FieldOfView(width=width, coverage=slices * preset.step, middle=middle, body=(0.0, 0.0))


def sample_field(rng: Rng, patient: Patient) -> FieldOfView:
    """Sample a field and a coverage as real rows have them, around a person who lies where patients do."""
    low, high = _lungs(patient)
    width = _of_rows(rng, _WIDTHS, (np.log(patient.scale[0]) + 0.018) / 0.061)
    coverage = _of_rows(rng, _COVERAGES, (high - low - _LUNG_HEIGHT[0]) / _LUNG_HEIGHT[1])
    # On the scout a radiographer sees where the lungs end at the sides, and leaves none of them out.
    half_lungs = 128 * patient.scale[0]
    room = max(0.0, width / 2 - half_lungs)
    across = float(np.clip(rng.normal(-2.3, 14.3) - patient.shift[0], -room, room))
    depth = float(rng.normal(3, 10.7)) - patient.shift[1] + 6
    kind = rng.random()
    if kind < _CUT_APICES:
        top = high - float(rng.uniform(5, 30))
    elif kind < _CUT_APICES + _CUT_BASES:
        bottom = low + float(rng.uniform(5, 35))
        top = high + float(rng.uniform(5, 40))
        coverage = top - bottom
    else:
        spare = coverage - (high - low)
        top = high + min(60.0, spare * float(rng.uniform(0.2, 0.5)))
    return FieldOfView(
        width=width,
        coverage=coverage,
        middle=(across, depth, top - coverage / 2),
        body=patient.shift,
    )


def _of_rows(rng: Rng, values: tuple[int, ...], size: float) -> float:
    """A value whose rank in the rows goes with a person's standardised size."""
    rank = 100 * float(ndtr(_FIT * size + (1 - _FIT**2) ** 0.5 * rng.standard_normal()))
    return float(np.interp(rank, _PERCENTILES, values))


def _lungs(patient: Patient) -> tuple[float, float]:
    """Lowest and highest lung, mm along the scanner's z from the canonical origin."""
    thorax = Thorax(patient=patient, heart=patient.heart)
    x, y = np.arange(-128, 129, 4.0)[:, None], np.arange(-92, 93, 4.0)[None, :]
    beneath = np.full((1, 1), -100.0)  # so low, the rib cage is as wide everywhere
    inside = np.maximum(thorax.cavity(x, y, beneath) + 1, thorax.mediastinum(x, y, beneath)) < 0
    return float(thorax.diaphragm(x, y)[inside].min()) * patient.scale[2], APEX * patient.scale[2]

"""Build one regular grid of slices, from ImagePositionPatient and ImageOrientationPatient alone.

SliceThickness, SpacingBetweenSlices, SliceLocation and InstanceNumber are not asked: they are often absent, rounded or of another series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, NamedTuple

import numpy as np

from thoracle.ct.dicom.frames import Slice, Vector
from thoracle.errors import DuplicateSlices, GantryTilt, GeometryInvalid, GeometryUnknown, MixedSeries, SliceGap, TooFewSlices
from thoracle.types import Affine

SAME_POSITION_MM: Final = 0.01  # closer is the same place: scanners write positions to 0.001 mm
TILT_DEGREES: Final = 0.1  # below, rounding of orientation; 0.5 mm over a chest of 300 mm
ROUNDING_MM: Final = 0.095  # 0.05 of positions written to one decimal, the coarsest in use, and what fitting a line adds
ROUNDING_SHARE: Final = 0.01  # of the step, where that is more
ROUNDING_MOST: Final = 0.1  # of the step: never so much that a missing slice could pass
RUN_STEPS: Final = 3  # so many equal steps are a distance that was chosen; fewer, where slices are missing
Uneven = Literal["refuse", "resample"]
_UNIT: Final = 1e-3  # cosines are written to three decimals or more
_SHIFT_MM: Final = 0.1  # sideways, between slices of one stack
_HINT: Final = "Export the original series, complete and unmixed."


@dataclass(frozen=True, kw_only=True, eq=False)
class SliceGrid:
    """Hold slices in the order of their positions, and (column, row, slice) index to LPS mm.

    Where slices are uneven and are to be resampled, `places` says for each slice of the grid where it lies among the slices that there
    are (2.5: halfway from the third to the fourth), and `notes` what that means; else `places` is None.
    """

    slices: tuple[Slice, ...]
    affine: Affine
    geometry: str
    places: Vector | None = None
    notes: tuple[str, ...] = ()


def build_slice_grid(slices: Sequence[Slice], *, min_slices: int, source: str, uneven: Uneven = "refuse") -> SliceGrid:
    """Build the grid of slices, or raise why they make none; their number is checked last.

    With `uneven` "resample", slices whose distance changes make a grid of the smallest distance among them.

    Raises:
        GeometryInvalid: orientation or spacing that is none.
        MixedSeries: unlike sizes, spacings or orientations, or slices shifted sideways.
        DuplicateSlices: several slices at one position.
        GantryTilt: positions drift across the slices' normal.
        SliceGap: slices missing, or distances that change where they are not to be resampled.
        TooFewSlices: sound, but fewer than `min_slices`.
        GeometryUnknown: a single slice that does not say how thick it is.
    """
    axes = _axes(slices[0], source)
    _require_alike(slices, source)
    positions = np.stack([s.position for s in slices])
    along = positions @ axes[2]
    order = np.argsort(along, kind="stable")
    positions, along = positions[order], along[order]
    _require_apart(along, source)
    _require_straight(positions, along, axes[2], source)
    step, places, notes = _steps(along, uneven, source)
    if len(slices) < min_slices:
        raise TooFewSlices(
            f"has {len(slices)} slice(s), at least {min_slices} are needed",
            hint="Give the folder of the whole series, or lower min_slices (--min-slices).",
            source=source,
        )
    affine = np.eye(4)
    affine[:3, :3] = (axes * np.array([slices[0].spacing[1], slices[0].spacing[0], step or _thickness(slices[0], source)])[:, None]).T
    affine[:3, 3] = positions[0]
    steps = "steps between positions" if len(along) > 1 else "SliceThickness (one slice has no step)"
    geometry = f"ImagePositionPatient, ImageOrientationPatient, PixelSpacing; {steps}"
    return SliceGrid(slices=tuple(slices[i] for i in order), affine=affine, geometry=geometry, places=places, notes=notes)


def _axes(first: Slice, source: str) -> Vector:
    """(3, 3) unit vectors: growing column index, growing row index, their normal."""
    row, column = first.orientation
    if not np.allclose([row @ row, column @ column, row @ column], [1, 1, 0], atol=2 * _UNIT):
        raise GeometryInvalid("ImageOrientationPatient is not two perpendicular unit vectors", hint=_HINT, source=source)
    if not (first.spacing > 0).all():
        raise GeometryInvalid(f"PixelSpacing must be positive, is {first.spacing.tolist()}", hint=_HINT, source=source)
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    return np.stack([row, column, np.cross(row, column)])


def _require_alike(slices: Sequence[Slice], source: str) -> None:
    first = slices[0]
    mismatched = {
        "Rows and Columns": [(s.rows, s.columns) != (first.rows, first.columns) for s in slices],
        "PixelSpacing": ~np.isclose([s.spacing for s in slices], first.spacing, rtol=_UNIT, atol=0).all(axis=1),
        "ImageOrientationPatient": (np.abs(np.stack([s.orientation for s in slices]) - first.orientation) > _UNIT).any(axis=(1, 2)),
    }
    for field, differs in mismatched.items():
        if np.any(differs):
            raise MixedSeries(
                f"{field} of {np.count_nonzero(differs)} in {len(slices)} slices is unlike the first", hint=_HINT, source=source
            )


def _require_apart(along: Vector, source: str) -> None:
    repeated = np.flatnonzero(np.diff(along) < SAME_POSITION_MM)
    if repeated.size:
        raise DuplicateSlices(
            f"{repeated.size} of {len(along)} slices lie where another does (the first at {along[repeated[0]]:.2f} mm)",
            hint="Remove copies; export each phase or reconstruction by itself.",
            source=source,
        )


def _require_straight(positions: Vector, along: Vector, normal: Vector, source: str) -> None:
    """Sideways displacement against displacement along the normal: what no line explains is a mixture, a slope is tilt."""
    if len(along) < 2:
        return
    sideways = positions - along[:, None] * normal
    sideways = sideways - sideways.mean(axis=0)
    centred = along - along.mean()
    slope = centred @ sideways / (centred @ centred)
    shift = float(np.linalg.norm(sideways - centred[:, None] * slope, axis=1).max())
    if shift > _SHIFT_MM:
        raise MixedSeries(f"slices are shifted sideways by up to {shift:.1f} mm", hint=_HINT, source=source)
    degrees = float(np.degrees(np.arctan(np.linalg.norm(slope))))
    drift = float(np.linalg.norm(slope)) * float(along[-1] - along[0])
    if degrees > TILT_DEGREES and drift > ROUNDING_MM:
        raise GantryTilt(
            f"slices are sheared by {degrees:.1f} degrees: positions drift {drift:.1f} mm across the normal of their orientation",
            hint="Resample it upright first: dcm2niix does, and writes an image whose name ends in _Tilt.",
            source=source,
        )


def _steps(along: Vector, uneven: Uneven, source: str) -> tuple[float, Vector | None, tuple[str, ...]]:
    """Step of the grid (0 of one slice), and where its slices lie among those there are, if that is elsewhere."""
    if _is_even(along):
        return float(along[-1] - along[0]) / max(len(along) - 1, 1), None, ()
    runs = _runs(along)
    _require_complete(along, runs, source)
    changes = " and ".join(f"from {before.step:.3g} to {after.step:.3g} mm at slice {after.first + 1}" for before, after in pairwise(runs))
    detail = f"slices change {changes} of {len(along)}"
    step = min(run.step for run in runs)
    if uneven != "resample":
        raise SliceGap(
            detail, hint=f"To resample them linearly to {step:.3g} mm, say --uneven resample (uneven='resample').", source=source
        )
    made = np.arange(along[0], along[-1] + ROUNDING_SHARE * step, step)
    places = np.interp(made, along, np.arange(len(along)))
    on_slice = np.abs(places - np.rint(places)) < ROUNDING_SHARE
    note = f"{detail}: resampled linearly to {step:.3g} mm, {len(made)} slices made of {len(along)}"
    return step, np.where(on_slice, np.rint(places), places), (note,)


def _is_even(along: Vector) -> bool:
    """One line through the positions, so that rounding of each position counts once and never adds up."""
    if len(along) < 3:
        return True
    index = np.arange(len(along))
    step, start = np.polyfit(index, along, 1)
    return bool(np.abs(along - (start + step * index)).max() <= _rounding(step) + 1e-6)


def _rounding(step: float) -> float:
    return min(max(ROUNDING_MM, ROUNDING_SHARE * step), ROUNDING_MOST * step)


class _Run(NamedTuple):
    """Slices at one distance: the index of the first, the number of steps that follow it, their mean in mm."""

    first: int
    number: int
    step: float


def _runs(along: Vector) -> list[_Run]:
    runs: list[_Run] = []
    for k, step in enumerate(np.diff(along)):
        if runs and abs(step - runs[-1].step) <= 2 * _rounding(runs[-1].step) + 1e-6:
            first = runs[-1].first
            runs[-1] = _Run(first, k + 1 - first, float(along[k + 1] - along[first]) / (k + 1 - first))
        else:
            runs.append(_Run(k, 1, float(step)))
    return runs


def _require_complete(along: Vector, runs: Sequence[_Run], source: str) -> None:
    """Refuse short runs: twice or three times a step that is usual, slices are missing; otherwise, they are displaced."""
    usual = [run.step for run in runs if run.number >= RUN_STEPS] or [min(run.step for run in runs)]
    odd = [(run, missing * run.number) for run in runs if run.number < RUN_STEPS and (missing := _missing(run.step, usual)) != 0]
    if len(runs) == 1:
        steps = np.diff(along)
        raise SliceGap(f"steps between slices run from {steps.min():.3g} to {steps.max():.3g} mm", hint=_HINT, source=source)
    if not odd:
        return
    worst, _ = max(odd, key=lambda gap: gap[1])
    counts = [missing for _, missing in odd]
    places = f" in {len(odd)} places" if len(odd) > 1 else ""
    remark = f" ({sum(counts)} missing{places})" if min(counts) > 0 else ""
    common = max(runs, key=lambda run: (run is not worst, run.number))
    raise SliceGap(
        f"steps between slices are {common.step:.3g} mm, but {worst.step:.3g} mm between slices"
        f" {worst.first + 1} and {worst.first + 2} of {len(along)}{remark}",
        hint=_HINT,
        source=source,
    )


def _missing(step: float, usual: Sequence[float]) -> int:
    """Slices that lack within a step, by whichever usual step it is a multiple of; -1 where it is of none."""
    counts = [round(step / other) - 1 for other in usual if abs(step - round(step / other) * other) <= 2 * _rounding(other) + 1e-6]
    return min((count for count in counts if count >= 0), default=-1)


def _thickness(first: Slice, source: str) -> float:
    if first.thickness is None or first.thickness <= 0:
        raise GeometryUnknown("one slice, and no SliceThickness", hint="Give the folder of the whole series.", source=source)
    return first.thickness
